"""The requests that are served: where they go upstream, how they are read, how their streams end."""

from collections.abc import Callable
from dataclasses import dataclass

from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.openai_streams import ChatStream, EventStream, ResponsesStream
from pointsman.serve.protocols.requests import ChatRequest, read_chat, read_embeddings, read_responses

__all__ = ["CHAT", "COMPACT", "COUNT_TOKENS", "EMBEDDINGS", "MESSAGES", "RESPONSES", "Surface"]


@dataclass(frozen=True, slots=True)
class Surface:
    """One kind of request.

    Attributes:
        path: below /v1 here, and below the upstream's URL there.
        read: from a body to the request; raises `RequestError`.
        stream: makes the watch over one event stream.
        charged: whether its answers cost anything.
        routed: whether routers may be asked; else `model` must be a model's own name.
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
