"""Identifies the conversation of a request, and its position in it.

A client names its conversation in a header (`NAMING_HEADERS`) or in the body: `conversation`, a `prompt_cache_key` or a
`metadata.user_id` that holds the id of a session. Otherwise a conversation is identified by its beginning: the text of
its instructions and of the user's first message. Cache marks, billing lines and the shape of the content
are ignored, since some clients change them from turn to turn.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pointsman.core.sessions import Turn
from pointsman.serve.protocols.long_documents import walks_request
from pointsman.serve.protocols.task import read_task
from pointsman.serve.protocols.turns import has_answer, is_models_turn, turns_of
from pointsman.serve.request.context import RequestContext

__all__ = ["is_first_turn", "naming_headers", "next_turn", "owner_of", "session_of"]

_OWN_HEADER = "x-pointsman-session"
NAMING_HEADERS = (  # the first that is there, and the thread or agent within it
    _OWN_HEADER,
    *("x-claude-code-session-id", "session-id", "session_id"),
    *("x-session-affinity", "x-opencode-session", "x-session-id", "x-litellm-session-id"),
)
_WITHIN = ("x-claude-code-agent-id", "thread-id", "thread_id")
_NAMES = {name.encode("ascii"): name for name in (*NAMING_HEADERS, *_WITHIN)}
_MAX_NAME = 200
_UNIQUE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:ses|sess|thread|conv)_\w{12,}", re.I
)
_SESSION_IN_USER = re.compile(r"_session_([\w-]{8,})\Z")
_BILLING = re.compile(r"(?m)^x-anthropic-billing-header:.*$")
_INSTRUCTIONS = ("system", "developer")
_CHARS_PER_TOKEN = 4.0
_MOST_TURNS = 1000  # that are searched for what the user asks first
_MOST_CHARACTERS = 1_000_000  # of an instruction that tells a conversation


def naming_headers(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers of a request that may identify its conversation."""
    found = {_NAMES[name]: value.decode("latin-1").strip() for name, value in headers if name in _NAMES}
    return {name: value[:_MAX_NAME] for name, value in found.items() if value}


def owner_of(context: RequestContext) -> str:
    """The owner of the conversation: keys never share them."""
    return context.key.id if context.key is not None else ""


def session_of(context: RequestContext) -> str:
    """The identity of a request's conversation."""
    if context.session is None:
        context.session = _digest((owner_of(context), _name(context) or _beginning(context.request.document)))
    return context.session


def is_first_turn(context: RequestContext) -> bool:
    """Whether a conversation seems to begin with this request: it contains no answer."""
    document = context.request.document
    return not (_name(context) or document.get("previous_response_id") or has_answer(document))


def next_turn(context: RequestContext, *, output_tokens: float) -> Turn:
    """Tokens of a request's last turn and of what was said before, counted as four characters each."""
    before, now = _sizes(context.request.document)
    return Turn(before / _CHARS_PER_TOKEN, now / _CHARS_PER_TOKEN, output_tokens)


@walks_request
def _sizes(document: Mapping[str, Any]) -> tuple[int, int]:
    """Number of characters up to the model's last turn, instructions included, and after it."""
    turns = turns_of(document)
    sizes = [_characters(turn) if isinstance(turn, dict) else 0 for turn in turns]
    last = next((i for i in reversed(range(len(turns))) if is_models_turn(turns[i])), -1)
    instructions = sum(_characters(document.get(name)) for name in ("system", "instructions"))
    return instructions + sum(sizes[: last + 1]), sum(sizes[last + 1 :])


def _name(context: RequestContext) -> list[Any] | None:
    """The client's name for the conversation, or None.

    Agents request titles and the like under their session's name, but without tools: that is another conversation.
    """
    document, headers = context.request.document, context.client
    header = next((name for name in NAMING_HEADERS if name in headers), None)
    if header == _OWN_HEADER:
        return [headers[header]]
    conversation = document.get("conversation")
    conversation = conversation.get("id") if isinstance(conversation, dict) else conversation
    if isinstance(conversation, str) and conversation:
        return [conversation]
    name = headers[header] if header is not None else _session_in(document)
    within = [headers[name] for name in _WITHIN if name in headers]
    return [name, *within, bool(document.get("tools"))] if name is not None else None


def _session_in(document: Mapping[str, Any]) -> str | None:
    """The id of a session in the body; ids of an application or its user, which many sessions share, do not count."""
    cache_key = document.get("prompt_cache_key")
    if isinstance(cache_key, str) and _UNIQUE.search(cache_key):
        return cache_key
    metadata = document.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user, str):
        return None
    if (found := _SESSION_IN_USER.search(user)) is not None:
        return found[1]
    if not user.startswith("{"):
        return None
    try:
        session = json.loads(user).get("session_id")
    except (ValueError, AttributeError):
        return None
    return session if isinstance(session, str) and session else None


def _digest(told: object) -> str:
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@walks_request
def _beginning(document: Mapping[str, Any]) -> str:
    """The identity of a conversation's beginning."""
    named = [document.get(name) for name in ("user", "prompt_cache_key")]
    instructions = [_BILLING.sub("", text[:_MOST_CHARACTERS]).strip() for text in _instructions(document)]
    return _digest([named, [text for text in instructions if text], _first_asked(document)])


def _instructions(document: Mapping[str, Any]) -> Iterator[str]:
    for name in ("system", "instructions"):
        yield from _texts(document.get(name))
    for turn in turns_of(document):
        if isinstance(turn, dict) and turn.get("role") in _INSTRUCTIONS:
            yield from _texts(turn.get("content"))


def _first_asked(document: Mapping[str, Any]) -> str:
    """The user's first question; the whole first turn if no turn asks anything."""
    turns = turns_of(document)
    for i, turn in enumerate(turns[:_MOST_TURNS]):
        if is_models_turn(turn):
            break
        if asked := read_task({"messages": [turn]}).text:
            return asked
        if i + 1 == len(turns):
            break
    if not turns:
        return read_task(document).text
    return "\n".join(_texts(turns[0].get("content") if isinstance(turns[0], dict) else None))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]


def _characters(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(_characters(part) for part in content if isinstance(part, dict))
    if not isinstance(content, dict):
        return 0
    return sum(_characters(content.get(name)) for name in ("text", "content", "output", "arguments"))
