"""Tells conversations from each other, and where in them a request is."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Scope

from pointsman.core.sessions import Turn
from pointsman.serve.request.context import RequestContext

__all__ = ["is_first_turn", "next_turn", "session_header", "session_of"]

_HEADER = b"x-pointsman-session"
_MAX_HEADER = 200
_INSTRUCTIONS = ("system", "developer")
_CHARS_PER_TOKEN = 4.0


def session_header(scope: Scope) -> str | None:
    """The conversation that a client names in a header; None where it names none."""
    for name, value in scope["headers"]:
        if name == _HEADER:
            return value.decode("latin-1").strip() or None
    return None


def session_of(context: RequestContext) -> str:
    """What stands for a request's conversation.

    The header x-pointsman-session, else the Responses API's `conversation`, else a hash of how the conversation begins:
    its instructions and first user turn with `user` and `prompt_cache_key`. Keys never share conversations.
    """
    document, given = context.request.document, context.session_header
    if given is None:
        conversation = document.get("conversation")
        given = conversation.get("id") if isinstance(conversation, dict) else conversation
    owner = context.key.id if context.key is not None else ""
    told = given[:_MAX_HEADER] if isinstance(given, str) and given else _beginning(document)
    return hashlib.sha256(repr((owner, told)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_first_turn(context: RequestContext) -> bool:
    """Whether a conversation begins with this request, as far as it shows: no answer has been given in it."""
    document = context.request.document
    told = context.session_header or document.get("conversation") or document.get("previous_response_id")
    return not told and not any(_role(turn) == "assistant" for turn in _turns(document))


def next_turn(context: RequestContext, *, output_tokens: float) -> Turn:
    """Tokens of a request's last turn and of what was said before, counted as four characters each."""
    turns = _turns(context.request.document)
    sizes = [_characters(turn.get("content")) if isinstance(turn, dict) else 0 for turn in turns]
    last = next((i for i in reversed(range(len(turns))) if _role(turns[i]) == "assistant"), -1)
    instructions = sum(_characters(context.request.document.get(name)) for name in ("system", "instructions"))
    prefix = instructions + sum(sizes[: last + 1])
    return Turn(prefix / _CHARS_PER_TOKEN, sum(sizes[last + 1 :]) / _CHARS_PER_TOKEN, output_tokens)


def _beginning(document: Mapping[str, Any]) -> list[Any]:
    turns = _turns(document)
    instructions = [turn for turn in turns if _role(turn) in _INSTRUCTIONS]
    first = next((turn for turn in turns if _role(turn) == "user"), document.get("input"))
    named = [document.get(name) for name in ("user", "prompt_cache_key", "system", "instructions")]
    return [named, [_content(turn) for turn in instructions], _content(first)]


def _turns(document: Mapping[str, Any]) -> Sequence[Any]:
    turns = document.get("messages", document.get("input"))
    return turns if isinstance(turns, list) else ()


def _role(turn: Any) -> Any:
    return turn.get("role") if isinstance(turn, dict) else None


def _content(turn: Any) -> Any:
    return turn.get("content") if isinstance(turn, dict) else turn


def _characters(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list):
        return 0
    return sum(_characters(part.get("text") or part.get("content")) for part in content if isinstance(part, dict))
