"""A model's thinking in the histories that clients send back: who made it, and how to leave it out.

Signatures of thinking blocks and encrypted reasoning are bound to the model, or the service, that made them; another
one rejects the request. Anthropic's rules for leaving them out: blocks of earlier turns may go; of a turn in which
tools' results are still awaited they may go only together with `thinking` itself, which is then off for one request.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pointsman.serve.protocols.long_documents import walks_request
from pointsman.serve.protocols.turns import pending_marks, thought_mark, turns_of

__all__ = ["may_hold_thoughts", "thought_marks", "without_thinking", "without_thoughts"]

_SIGN = re.compile(rb'"(?:signature|data"|encrypted_content"|reasoning")')
_CLEARING = "clear_thinking"
_PLAIN = {"role", "content"}
_CHAT_THOUGHTS = ("reasoning_details", "thinking_blocks")


def may_hold_thoughts(body: bytes) -> bool:
    """Whether a body may contain thinking."""
    return _SIGN.search(body) is not None


@walks_request
def thought_marks(document: Mapping[str, Any]) -> list[str]:
    """Marks of all thinking in a request's history."""
    return [mark for turn in turns_of(document) for part in _thoughts(turn) if (mark := thought_mark(part)) is not None]


def without_thoughts(document: Mapping[str, Any], is_foreign: Callable[[str], bool]) -> dict[str, Any] | None:
    """The request without foreign thinking; None if it has none.

    Args:
        is_foreign: whether a mark is of another maker.
    """
    if not any(is_foreign(mark) for mark in thought_marks(document)):
        return None
    changed = dict(document)
    if "input" in document:
        changed["input"] = list(_items(turns_of(document), is_foreign))
        return changed
    turns = turns_of(document)
    awaited = _last_asked(turns) if pending_marks(document) else len(turns)
    in_open_turn = any(is_foreign(mark) for mark in thought_marks({"messages": turns[awaited:]}))
    closed = [_message(turn, is_foreign) for turn in turns[:awaited]]
    open_ = [_message(turn, (lambda _: True) if in_open_turn else is_foreign) for turn in turns[awaited:]]
    kept = [*closed, *open_]
    changed["messages"] = [turn for turn in kept if turn is not None]
    if in_open_turn:
        _turn_off(changed)
    return changed


def without_thinking(document: Mapping[str, Any]) -> dict[str, Any]:
    """The request without any thinking, and with thinking off if tools' results are awaited."""
    changed = without_thoughts(document, lambda mark: True) or dict(document)
    if pending_marks(document):
        _turn_off(changed)
    return changed


def _thoughts(turn: Any) -> Iterator[Mapping[str, Any]]:
    """The parts of a message or an item that may be thinking."""
    if not isinstance(turn, dict) or (turn.keys() == _PLAIN and isinstance(turn["content"], str)):
        return
    if turn.get("type") == "reasoning":
        yield turn
    for name in ("content", *_CHAT_THOUGHTS):
        parts = turn.get(name)
        yield from (part for part in parts if isinstance(part, dict)) if isinstance(parts, list) else ()


def _last_asked(turns: Any) -> int:
    """Index after the last user turn with more than tools' results."""
    for i in reversed(range(len(turns))):
        turn = turns[i]
        if not isinstance(turn, dict) or turn.get("role") != "user":
            continue
        content = turn.get("content")
        parts = content if isinstance(content, list) else ()
        if not any(isinstance(part, dict) and part.get("type") == "tool_result" for part in parts):
            return i + 1
    return 0


def _message(turn: Any, is_foreign: Callable[[str], bool]) -> Any:
    """A message without foreign thinking; None if nothing is left."""
    if not isinstance(turn, dict) or turn.get("role") != "assistant":
        return turn

    def is_kept(part: Any) -> bool:
        mark = thought_mark(part) if isinstance(part, dict) else None
        return mark is None or not is_foreign(mark)

    changed = dict(turn)
    if isinstance(content := turn.get("content"), list):
        changed["content"] = [part for part in content if is_kept(part)]
    for name in _CHAT_THOUGHTS:
        if isinstance(thoughts := turn.get(name), list) and not all(map(is_kept, thoughts)):
            del changed[name]
    emptied = content and not changed["content"] and not turn.get("tool_calls")
    return None if emptied else changed


def _items(items: Any, is_foreign: Callable[[str], bool]) -> Iterator[Any]:
    """Input items without foreign reasoning; items made with it lose their id, which would refer to it."""
    made_with_it = False
    for item in items:
        if not isinstance(item, dict):
            yield item
            continue
        if (mark := thought_mark(item)) is not None and is_foreign(mark):
            made_with_it = True
            continue
        if item.get("role") == "user" or item.get("type") == "reasoning":
            made_with_it = False
        yield {name: value for name, value in item.items() if name != "id"} if made_with_it else item


def _turn_off(document: dict[str, Any]) -> None:
    """The request without thinking, and without what is allowed only with it."""
    document.pop("thinking", None)
    management = document.get("context_management")
    if not isinstance(management, dict) or not isinstance(management.get("edits"), list):
        return
    edits = [e for e in management["edits"] if not (isinstance(e, dict) and str(e.get("type")).startswith(_CLEARING))]
    document["context_management"] = {**management, "edits": edits}
    if not edits:
        del document["context_management"]
