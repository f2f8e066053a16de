"""The prompt that a cell holds: a text, a conversation, or a conversation written as JSON.

Of a conversation the first user turn counts, in every command: a router that learnt from first turns must be calibrated
and asked on first turns.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.backends.data.values import encodable

__all__ = ["PROMPT_COLUMNS", "decode_prompt"]

_CHATS = ("messages", "conversation_a", "conversation", "conversations", "turns")
PROMPT_COLUMNS = ("prompt", *_CHATS, "input", "query", "question", "instruction", "body")
_USERS = frozenset({"user", "human", "prompter"})
_OTHERS = frozenset({"assistant", "system", "developer", "gpt", "tool", "function", "chatgpt", "bot", "model", "bing"})
_PLACES = (*_CHATS, "raw", "text", "content", "value", "prompt", "input", "query", "question")


def decode_prompt(value: Any) -> str:
    """The prompt of a cell; "" where it holds none.

    * a text is itself, unless it is a JSON list of turns or messages, as Chatbot Arena writes it
    * a list of texts is a list of user turns: the first counts
    * a list of messages (`role` and `content`, or ShareGPT's `from` and `value`): the first of a user counts
    * content in parts is the text parts, joined
    * an object is what it holds under `messages`, `conversation`, `content`, `text`, ...

    Lone surrogates are left out: they have no UTF-8 form, so that no embedder reads them.
    """
    if isinstance(value, str):
        turns = _parsed(value)
        return encodable(value) if turns is None else decode_prompt(turns)
    if isinstance(value, Mapping):
        place = next((name for name in _PLACES if value.get(name) is not None), None)
        return "" if place is None else decode_prompt(value[place])
    if hasattr(value, "tolist") and not isinstance(value, Sequence):  # an array of turns, as pandas reads parquet
        value = value.tolist()
    return _first_turn(value) if isinstance(value, Sequence) else ""


def _parsed(text: str) -> Any:
    """The conversation that a text holds as JSON; None for plain text."""
    stripped = text.strip()
    if not (stripped.startswith(("[", "{")) and stripped.endswith(("]", "}"))):
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return value if _is_conversation(value) else None


def _is_conversation(value: Any) -> bool:
    """Whether parsed JSON is a list of turns or messages, or an object with messages, rather than a text's own JSON."""
    if isinstance(value, dict):
        return isinstance(value.get("messages"), list) and _is_conversation(value["messages"])
    if not isinstance(value, list):
        return False
    texts = all(isinstance(turn, str | None) for turn in value)
    return texts or all(isinstance(turn, dict) and (_role(turn) in _USERS | _OTHERS) for turn in value)


def _first_turn(turns: Sequence[Any]) -> str:
    messages = [turn for turn in turns if isinstance(turn, Mapping)]
    if not messages:
        return _text(turns[0]) if turns else ""
    if all(not _role(message) for message in messages):  # parts of one content
        return _text(turns)
    said = next((message for message in messages if _role(message) in _USERS), None)
    return "" if said is None else _text(said["content"] if "content" in said else said.get("value", said.get("text")))


def _role(message: Mapping[str, Any]) -> str:
    return str(message.get("role") or message.get("from") or "").lower()


def _text(content: Any) -> str:
    """The text of a message's content, which may come in parts."""
    if isinstance(content, str):
        return encodable(content)
    if isinstance(content, Mapping):
        return next((_text(content[name]) for name in ("text", "content", "value") if content.get(name)), "")
    if hasattr(content, "tolist"):
        content = content.tolist()
    parts = [_text(part) for part in content] if isinstance(content, Sequence) else []
    return "\n".join(part for part in parts if part)
