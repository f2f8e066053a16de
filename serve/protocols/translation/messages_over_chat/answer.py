"""A chat completion as a message of Anthropic's API."""

import secrets
from collections.abc import Iterator
from typing import Any

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.translation.messages_over_chat.conversation import OWN_SIGNATURE
from pointsman.serve.protocols.translation.messages_over_chat.tools import original_names
from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.translation.tools import arguments_object, fit_id
from pointsman.serve.protocols.usage import Usage, read_usage

__all__ = ["call_id", "message", "message_head", "message_usage", "own_signature", "stop_fields", "thoughts_and_texts"]

_STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def message(completion: Document, asked: Document) -> dict[str, Any]:
    """The message that says the same.

    Args:
        completion: the service's answer.
        asked: the client's request.

    Raises:
        UpstreamFailure: it is not a chat completion.
    """
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    said = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(said, dict):
        raise UpstreamFailure("the upstream's answer has no message in it", code="upstream_malformed")
    names = original_names(asked.get("tools"))
    calls = list(_calls(said, names))
    content = [*map(_block, thoughts_and_texts(said)), *calls]
    finish = choice.get("finish_reason")
    stop = stop_fields(
        finish, choice.get("stop_reason"), asked, has_calls=bool(calls), refused=bool(said.get("refusal"))
    )
    return {
        **message_head(completion, asked),
        "content": content,
        **stop,
        "usage": message_usage(read_usage(completion.get("usage"))),
    }


def own_signature() -> str:
    """A signature for what a model of another service thought: by it the block is known again."""
    return f"{OWN_SIGNATURE}{secrets.token_hex(12)}"


def message_head(answer: Document, asked: Document) -> dict[str, Any]:
    """What a message begins with: id, type, role, model."""
    identifier = str(answer.get("id") or secrets.token_hex(12))
    model = answer.get("model") or asked.get("model")
    identifier = identifier if identifier.startswith("msg_") else f"msg_{identifier}"
    return {"id": identifier, "type": "message", "role": "assistant", "model": model}


def message_usage(usage: Usage | None) -> dict[str, Any]:
    """The tokens in Anthropic's words: those that came from a cache, or went there, are counted apart."""
    counted = usage or Usage(0, 0)
    return {
        "input_tokens": max(0, counted.input_tokens - counted.cached_tokens - counted.cache_write_tokens),
        "cache_creation_input_tokens": counted.cache_write_tokens,
        "cache_read_input_tokens": counted.cached_tokens,
        "output_tokens": counted.output_tokens,
    }


def stop_fields(finish: object, stop: object, asked: Document, *, has_calls: bool, refused: bool) -> dict[str, Any]:
    """`stop_reason` and `stop_sequence`.

    Args:
        finish: the choice's `finish_reason`, which some services give as "stop" with calls of tools.
        stop: its `stop_reason`, by which some tell what stopped them.
        has_calls: whether the answer calls tools.
        refused: whether it is a refusal.
    """
    reason = _STOP_REASONS.get(str(finish), "end_turn")
    if refused:
        reason = "refusal"
    elif has_calls and reason == "end_turn":
        reason = "tool_use"
    elif reason == "tool_use" and not has_calls:
        reason = "end_turn"
    if reason == "end_turn" and isinstance(stop, str) and stop in (asked.get("stop_sequences") or ()):
        return {"stop_reason": "stop_sequence", "stop_sequence": stop}
    return {"stop_reason": reason, "stop_sequence": None}


def thoughts_and_texts(said: Document) -> Iterator[tuple[str, str]]:
    """What a message or a delta says, as ("thinking", text) and ("text", text), in order, without empty ones."""
    thought = said.get("reasoning_content") or said.get("reasoning")
    if isinstance(thought, str) and thought:
        yield "thinking", thought
    content = said.get("content")
    for part in content if isinstance(content, list) else [content]:
        yield from _part(part)
    refusal = said.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield "text", refusal


def call_id(given: object) -> str:
    """A call's id that Anthropic's API takes, too; a new one where the service gave none."""
    return fit_id(given) if isinstance(given, str) and given else f"toolu_{secrets.token_hex(12)}"


def _block(said: tuple[str, str]) -> dict[str, Any]:
    kind, text = said
    if kind == "text":
        return {"type": "text", "text": text}
    return {"type": "thinking", "thinking": text, "signature": own_signature()}


def _part(part: object) -> Iterator[tuple[str, str]]:
    """A text, or a part of the content: some services send thoughts that way, themselves in parts."""
    if isinstance(part, str):
        text, kind = part, "text"
    elif isinstance(part, dict) and part.get("type") == "thinking":
        inner = part.get("thinking")
        pieces = inner if isinstance(inner, list) else [inner]
        text, kind = "".join(text for piece in pieces for _, text in _part(piece)), "thinking"
    elif isinstance(part, dict) and isinstance(part.get("text"), str):
        text, kind = part["text"], "text"
    else:
        return
    if text:
        yield kind, text


def _calls(said: Document, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    calls = said.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield _tool_use(call.get("id"), function, names)
    if isinstance(said.get("function_call"), dict):
        yield _tool_use(None, said["function_call"], names)


def _tool_use(identifier: object, function: Document, names: dict[str, str]) -> dict[str, Any]:
    name = str(function.get("name") or "")
    return {
        "type": "tool_use",
        "id": call_id(identifier),
        "name": names.get(name, name),
        "input": arguments_object(function.get("arguments")),
    }
