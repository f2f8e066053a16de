"""The supported APIs: their upstream paths, how requests are read, how streams end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.openai_streams import ChatStream, EventStream, ResponsesStream
from pointsman.serve.protocols.requests import ChatRequest, read_chat, read_embeddings, read_responses

__all__ = ["CHAT", "COMPACT", "COUNT_TOKENS", "EMBEDDINGS", "MESSAGES", "RESPONSES", "Surface", "guess_surface"]


@dataclass(frozen=True, slots=True)
class Surface:
    """One kind of request.

    Attributes:
        path: below /v1 here, and below the upstream's URL there.
        read: from a body to the request; raises `RequestError`.
        stream: makes the state of one event stream.
        charged: whether its answers cost money.
        routed: whether it may be routed; else `model` must be a model's own name.
    """

    path: str
    read: Callable[[bytes], ChatRequest]
    stream: Callable[[], EventStream]
    routed: bool = True
    charged: bool = True


CHAT = Surface("/chat/completions", read_chat, ChatStream)
RESPONSES = Surface("/responses", read_responses, ResponsesStream)
COMPACT = Surface("/responses/compact", read_responses, ResponsesStream)
EMBEDDINGS = Surface("/embeddings", read_embeddings, ChatStream, routed=False)
MESSAGES = Surface("/messages", read_chat, MessagesStream)
COUNT_TOKENS = Surface("/messages/count_tokens", read_chat, MessagesStream, charged=False)
_OF_MESSAGES = ("system", "thinking", "stop_sequences", "metadata", "anthropic_version")
_BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking", "document", "image")


def guess_surface(document: Mapping[str, Any]) -> Surface:
    """The API of a request whose path does not tell."""
    if "input" in document:
        return RESPONSES
    turns = document.get("messages")
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    blocks = any(part.get("type") in _BLOCKS or "cache_control" in part for part in parts)
    return MESSAGES if blocks or any(name in document for name in _OF_MESSAGES) else CHAT
