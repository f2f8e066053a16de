"""Selects answers for shadow comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.core.answer_signals import Answer
from pointsman.serve.protocols.said import read_said
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.request.record import Record
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["Sample", "answer_text", "is_comparable", "known_answer", "take_sample"]

_NOT_TEXT = frozenset(("tools", "functions", "audio", "modalities", "prediction"))


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of the weak or the strong model, with its request.

    Attributes:
        request_id: what the client saw.
        decision_id: of its row in the store; None where it has none.
        model: who answered.
        document: the request.
        question: its conversation as one text, for the judge.
        answer: what it said.
        n_tokens: of that answer.
        attempt: how it came, which holds what else a verifier learns from; None where that is not known.
        prompt: what the request is routed by.
        key: id of the access key that asked; None without keys.
        against: whose answer it is compared with; None for the other model of the pair.
    """

    request_id: str
    decision_id: str | None
    model: str
    document: Mapping[str, Any]
    question: str
    answer: str
    n_tokens: int
    attempt: Attempt | None = None
    prompt: str = ""
    key: str | None = None
    against: str | None = None


def is_comparable(record: Record) -> bool:
    """Whether it is a routed chat request that was answered in words alone: `take_sample` then makes a sample."""
    context = record.context
    if context is None or record.outcome != "answered" or record.model is None or record.usage is None:
        return False
    document = context.request.document
    if context.surface is not CHAT or record.decision is None or record.decision.router is None:
        return False
    if not _NOT_TEXT.isdisjoint(document) and any(document.get(name) for name in _NOT_TEXT):
        return False
    if document.get("n") not in (None, 1) or not _is_text(document["messages"]):
        return False
    return bool(context.attempts) and bool(answer_text(context.attempts[-1]))


def take_sample(record: Record) -> Sample | None:
    """The sample that a request makes; None unless it is comparable."""
    context = record.context
    if context is None or record.decision is None or record.usage is None or not is_comparable(record):
        return None
    assert record.model is not None
    document = context.request.document
    question, answer = _conversation(document["messages"]), answer_text(context.attempts[-1])
    assert question and answer
    of_row, n_tokens = (record.id, record.row_id, record.model), record.usage.output_tokens
    key = None if context.key is None else context.key.id
    return Sample(*of_row, document, question, answer, n_tokens, context.attempts[-1], context.request.prompt, key)


def known_answer(attempt: Attempt, text: str, n_tokens: int | None) -> Answer:
    """A chat completion's text with what else a verifier reads; of a stream that is its length alone."""
    found = read_said(attempt.document())
    if not found:
        return Answer(text, output_tokens=n_tokens)
    said = found[0]
    return Answer(
        text,
        token_logprobs=said.logprobs,
        margin=said.margin,
        output_tokens=n_tokens,
        finish_reason=said.finish_reason,
    )


def answer_text(attempt: Attempt) -> str | None:
    """What a whole or streamed chat completion says; None where it says nothing, or more than was kept of it."""
    if attempt.stream is not None:
        return attempt.stream.answer.text if attempt.stream.finished and attempt.stream.answer.is_whole else None
    choices = attempt.document().get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else None


def _conversation(messages: list[Mapping[str, Any]]) -> str | None:
    """The turns with their roles, or the only turn alone; None where one of them is more than text."""
    texts = [_text(message.get("content")) for message in messages]
    if any(text is None for text in texts):
        return None
    if len(messages) == 1:
        return texts[0]
    return "\n\n".join(f"[{message['role']}]\n{text}" for message, text in zip(messages, texts, strict=True))


def _is_text(messages: list[Mapping[str, Any]]) -> bool:
    """Whether all turns are text, and there is more than one or the only one says something."""
    for message in messages:
        content = message.get("content")
        if not isinstance(content, str) and _text(content) is None:
            return False
    return len(messages) > 1 or bool(messages and _text(messages[0].get("content")))


def _text(content: object) -> str | None:
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(map(str, texts)) if len(texts) == len(parts) else None
