"""Recognizes requests that agents and chat front ends send on their own: titles, topics, tags, commit messages.

They need no strong model. They are recognized by the client's words: in the system prompt, or in first words that only
clients use. A user who asks for a title uses other words, or the request offers tools.
"""

import re
from collections.abc import Mapping
from typing import Any

from pointsman.serve.protocols.long_documents import walks_request
from pointsman.serve.protocols.turns import turns_of

__all__ = ["background_work"]

_SEARCHED = 300  # characters: what it is for stands at the beginning
_KINDS = (
    (
        "title",
        r"\btitle generator\b|\bgenerates? (?:a|an|the)?[^.\n]{0,60}\btitle\b|\d+-\d+ word title"
        r"|summarize this coding conversation in under|sentence-case title|\bcreate a (?:short|concise|brief) title",
    ),
    ("topic", r"analyze if this message indicates a new conversation topic|\bgenerates? [^.\n]{0,30}\btags\b"),
    (
        "commit message",
        r"generates? concise, one-line git commit messages|\bwrite a (?:short |concise )?commit message",
    ),
    ("command prefix", r"process (?:bash|shell) commands that an ai coding agent wants to run"),
)
_FIRST_WORDS = (
    (
        "title",
        r"please write a \d+-\d+ word title|generate a title for this conversation"
        r"|### task:\s+generate a concise, [^.\n]{0,40}title"
        r"|(?:please )?(?:provide|generate) a concise, 5-word-or-less title",
    ),
    ("topic", r"### task:\s+generate 1-3 broad tags|### task:\s+suggest 3-5 relevant follow-up"),
    ("search query", r"### task:\s+analyze the chat history to determine the necessity of generating search queries"),
)
_ANY_SYSTEM = re.compile("|".join(pattern for _, pattern in _KINDS), re.IGNORECASE)
_ANY_USER = re.compile(r"\s*(?:" + "|".join(pattern for _, pattern in _FIRST_WORDS) + ")", re.IGNORECASE)


@walks_request
def background_work(document: Mapping[str, Any]) -> str | None:
    """The kind of background work, e.g. "title"; None for a user's own request."""
    if document.get("tools") or document.get("functions"):
        return None
    if document.get("max_tokens") == 1 or document.get("max_completion_tokens") == 1:
        return "probe"
    instructions, said = _said(document)
    for text in instructions:
        head = text[:_SEARCHED]
        if _ANY_SYSTEM.search(head):
            return next(kind for kind, pattern in _KINDS if re.search(pattern, head, re.IGNORECASE))
    for text in said:
        head = text[:_SEARCHED]
        if _ANY_USER.match(head):
            return next(kind for kind, pattern in _FIRST_WORDS if re.match(rf"\s*(?:{pattern})", head, re.IGNORECASE))
    return None


def _said(document: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The instructions and the user's turns; such requests rarely have more than one or two."""
    instructions = [text for name in ("system", "instructions") if name in document for text in _texts(document[name])]
    said = _texts(document["input"]) if "input" in document else []
    for i, turn in enumerate(turns_of(document)[:3]):
        role = turn.get("role") if isinstance(turn, dict) else None
        if role == "user":
            said += _texts(turn.get("content"))
        elif role in ("system", "developer") and i < 2:
            instructions += _texts(turn.get("content"))
    return instructions, said


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
