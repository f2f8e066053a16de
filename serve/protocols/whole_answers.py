"""Whole answers of each API: whether a document is one, and a chat completion told as a stream."""

from collections.abc import Mapping
from typing import Any

from pointsman.serve.protocols.openai_streams import DONE
from pointsman.serve.protocols.write_json import write_json

__all__ = ["chat_as_stream", "holds_answer"]

_MEMBERS = {"/chat/completions": "choices", "/responses": "output", "/messages": "content", "/embeddings": "data"}


def holds_answer(path: str, document: Mapping[str, Any]) -> bool:
    """Whether a success of an API holds an answer: choices, content, output or data; of other paths, anything does.

    A response that has failed for the request's sake is an answer, too: the client reads there what was wrong with it.
    """
    member = _MEMBERS.get(path)
    if member is None:
        return not document.get("error")
    found = document.get(member)
    if path == "/responses":
        failed = document.get("status") == "failed"
        return isinstance(found, list) and not (failed and _is_services_fault(document.get("error")))
    if member == "choices":
        return isinstance(found, list) and bool(found) and all(isinstance(choice, dict) for choice in found)
    return isinstance(found, list)


def chat_as_stream(document: Mapping[str, Any], *, usage: bool) -> bytes:
    """The events that a service would have streamed for a chat completion, each answer in one chunk.

    Args:
        usage: whether its usage was asked for as an event of its own.
    """
    head = {name: value for name, value in document.items() if name not in ("choices", "usage", "object")}
    head["object"] = "chat.completion.chunk"
    events = []
    for choice in document["choices"]:
        message = dict(choice.get("message") or {})
        if isinstance(calls := message.get("tool_calls"), list):
            message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls) if isinstance(call, dict)]
        place = choice.get("index", 0)
        told = {"index": place, "delta": message, "finish_reason": None}
        if choice.get("logprobs") is not None:
            told["logprobs"] = choice["logprobs"]
        ended = {"index": place, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        events += [{**head, "choices": [told]}, {**head, "choices": [ended]}]
    if usage:
        events.append({**head, "choices": [], "usage": document.get("usage")})
    return b"".join(b"data: %s\n\n" % write_json(event) for event in events) + DONE


def _is_services_fault(error: object) -> bool:
    code = error.get("code") if isinstance(error, Mapping) else None
    return code in ("server_error", "rate_limit_exceeded", "vector_store_timeout")
