"""A request's position in its conversation, for all three APIs, and marks that identify who made its parts.

A mark stands for something made by one model that no other model or service can continue: a tool
call, a stored response, signed thinking. Answers leave marks; later requests bring them back.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pointsman.serve.protocols.long_documents import walks_answer, walks_request

__all__ = [
    "answer_marks",
    "event_marks",
    "has_answer",
    "held_marks",
    "is_models_turn",
    "message_marks",
    "pending_marks",
    "thought_mark",
    "turns_of",
]

_OUTPUT = "_output"  # ends the type of every item that brings a tool's result
_MODELS_ITEMS = ("reasoning", "compaction", "item_reference", "image_generation_call")
_STORED = ("response", "response.compaction")
_COMPACTED = ("compaction", "compaction_summary")
_PLAIN = {"content", "role"}  # of most chunks: no marks
_ITEM_EVENTS = ("response.output_item.added", "response.output_item.done")


def turns_of(document: Mapping[str, Any]) -> Sequence[Any]:
    """The messages or input items of a request; empty if its input is one text."""
    turns = document.get("messages", document.get("input"))
    return turns if isinstance(turns, list) else ()


@walks_request
def has_answer(document: Mapping[str, Any]) -> bool:
    """Whether a model has already answered in this conversation, as far as the request shows."""
    return any(is_models_turn(turn) for turn in turns_of(document))


@walks_request
def pending_marks(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Marks of the tool calls whose results the request contains: those since the model's last turn, latest first."""
    found: list[str] = []
    for turn in reversed(turns_of(document)):
        if not isinstance(turn, dict):
            continue
        if is_models_turn(turn):
            break
        if turn.keys() == _PLAIN and isinstance(turn["content"], str):
            continue
        found += _result_marks(turn)
    return tuple(found)


@walks_request
def held_marks(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Marks of what the request continues and only one service can read: a response, a conversation, a summary."""
    held = []
    if isinstance(response := document.get("previous_response_id"), str) and response:
        held.append(f"response:{response}")
    if (conversation := document.get("conversation")) is not None:
        id = conversation.get("id") if isinstance(conversation, dict) else conversation
        if isinstance(id, str) and id:
            held.append(f"conversation:{id}")
    for turn in turns_of(document):
        if isinstance(turn, dict) and "type" in turn and (mark := _compacted(turn)) is not None:
            held.append(mark)
    return tuple(held)


def thought_mark(part: Mapping[str, Any]) -> str | None:
    """Mark of a thinking block or reasoning item; None where it is neither, or is signed by nobody."""
    kind = part.get("type")
    if kind in ("thinking", "redacted_thinking"):
        sealed = part.get("signature") or part.get("data")
    elif kind == "reasoning":
        sealed = part.get("encrypted_content") or part.get("id")
    elif isinstance(kind, str) and kind.startswith("reasoning."):  # of `reasoning_details`
        sealed = part.get("signature") or part.get("data")
    else:
        return None
    return _thought(sealed) if isinstance(sealed, str) and sealed else None


@walks_answer
def answer_marks(answer: Mapping[str, Any]) -> list[str]:
    """Marks of a whole answer of any of the three APIs."""
    marks = list(_response_marks(answer)) if "object" in answer else []
    for name in ("content", "output"):
        if name in answer:
            marks += _part_marks(answer[name])
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict) and not message.keys() <= _PLAIN:
            marks += message_marks(message)
    return marks


def event_marks(event: Mapping[str, Any]) -> list[str]:
    """Marks in one event of a stream of the Messages or the Responses API."""
    kind = event.get("type")
    if kind == "content_block_start":
        return list(_part_marks([event.get("content_block")]))
    if kind == "content_block_delta":
        delta = event.get("delta")
        signature = delta.get("signature") if isinstance(delta, dict) else None
        return [_thought(signature)] if isinstance(signature, str) and signature else []
    if kind in _ITEM_EVENTS:
        return list(_part_marks([event.get("item")]))
    if isinstance(response := event.get("response"), dict):
        return list(_response_marks(response))
    return []


def message_marks(message: Mapping[str, Any]) -> Iterator[str]:
    """Marks of a chat message, or of what a chunk adds to it."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            yield from _calls(call.get("id"))
    for name in ("reasoning_details", "thinking_blocks"):
        thoughts = message.get(name)
        for thought in thoughts if isinstance(thoughts, list) else ():
            if isinstance(thought, dict) and (mark := thought_mark(thought)) is not None:
                yield mark


def is_models_turn(turn: object) -> bool:
    """Whether a message or item is what a model made."""
    if not isinstance(turn, dict):
        return False
    kind = turn.get("type")
    made = isinstance(kind, str) and (kind.endswith("_call") or kind in _MODELS_ITEMS)
    return made or turn.get("role") == "assistant"


def _result_marks(turn: Mapping[str, Any]) -> Iterator[str]:
    kind = turn.get("type")
    if turn.get("role") == "tool" or (isinstance(kind, str) and kind.endswith(_OUTPUT)):
        yield from _calls(turn.get("tool_call_id") or turn.get("call_id"))
    elif kind == "mcp_approval_response":
        yield from _calls(turn.get("approval_request_id"))
    elif turn.get("role") == "user" and isinstance(content := turn.get("content"), list):
        for part in content:
            if isinstance(part, dict) and part.get("type") == "tool_result":
                yield from _calls(part.get("tool_use_id"))


def _response_marks(answer: Mapping[str, Any]) -> Iterator[str]:
    if answer.get("object") in _STORED and isinstance(answer.get("id"), str):
        yield f"response:{answer['id']}"
        conversation = answer.get("conversation")
        if isinstance(conversation, dict) and isinstance(conversation.get("id"), str):
            yield f"conversation:{conversation['id']}"


def _part_marks(parts: object) -> Iterator[str]:
    """Of content blocks and output items."""
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue
        if (mark := thought_mark(part) or _compacted(part)) is not None:
            yield mark
        elif part.get("type") in ("tool_use", "mcp_approval_request"):
            yield from _calls(part.get("id"))
        else:
            yield from _calls(part.get("call_id"))


def _compacted(item: object) -> str | None:
    """Mark of a conversation that its service has summarised and sealed."""
    if not isinstance(item, dict) or item.get("type") not in _COMPACTED:
        return None
    sealed = item.get("encrypted_content")
    return "held:" + _digest(sealed) if isinstance(sealed, str) and sealed else None


def _calls(id: object) -> Iterator[str]:
    if isinstance(id, str) and id:
        yield f"call:{id}"


def _thought(sealed: str) -> str:
    return "thought:" + _digest(sealed)


def _digest(sealed: str) -> str:
    return hashlib.sha256(sealed.encode("utf-8", "surrogatepass")).hexdigest()[:32]
