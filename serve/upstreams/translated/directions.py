"""From which API to which a model is asked: what the translations have in common."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.openai_streams import DONE, ChatStream, EventStream
from pointsman.serve.protocols.token_count import count_input_tokens
from pointsman.serve.protocols.translation.chat_over_messages.answer import completion
from pointsman.serve.protocols.translation.chat_over_messages.request import messages_request as chat_as_messages
from pointsman.serve.protocols.translation.chat_over_messages.stream import CompletionChunks
from pointsman.serve.protocols.translation.errors import chat_error, messages_error_message
from pointsman.serve.protocols.translation.messages_over_chat.answer import message
from pointsman.serve.protocols.translation.messages_over_chat.request import HINTS as CHAT_HINTS
from pointsman.serve.protocols.translation.messages_over_chat.request import chat_request
from pointsman.serve.protocols.translation.messages_over_chat.service import ChatService
from pointsman.serve.protocols.translation.messages_over_chat.stream import MessageEvents
from pointsman.serve.protocols.translation.messages_request import HINTS as MESSAGES_HINTS
from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.translation.responses_over_messages.answer import response
from pointsman.serve.protocols.translation.responses_over_messages.request import (
    messages_request as responses_as_messages,
)
from pointsman.serve.protocols.translation.responses_over_messages.stream import ResponseEvents
from pointsman.serve.protocols.usage import Usage
from pointsman.serve.upstreams.providers import Target

__all__ = ["CHAT_PATH", "MESSAGES_PATH", "RESPONSES_PATH", "Direction", "Events", "directions_of"]

CHAT_PATH, MESSAGES_PATH, RESPONSES_PATH = "/chat/completions", "/messages", "/responses"
# Services whose newer models know `max_completion_tokens` alone, and which refuse what OpenAI's API does not have.
_OPENAI = ("api.openai.com", ".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_KEEP_REASONING = ("api.deepseek.com", "api.moonshot.ai", "api.moonshot.cn")
_MOST_STOPS = 4


class Events(Protocol):
    """Makes the events of one API's stream from those of another's."""

    def feed(self, event: Document) -> Iterator[dict[str, Any]]: ...

    def end(self, usage: Usage | None) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Direction:
    """One translation.

    Attributes:
        path: what the service is asked at.
        request: the client's document in the service's words; raises `RequestError`.
        hints: parameters without which a service that refuses them is asked again; dotted ones are inside another.
        answer: the service's whole answer in the client's words, with the client's document.
        events: makes the translation of one stream for a client's document.
        watch: makes the watch over the service's stream.
        error: the body of the service's error in the client's words.
        foreign_headers: begins headers of the client's API that mean nothing to the service.
        named: whether the client's events have names.
        closing: what ends the client's stream.
    """

    path: str
    request: Callable[[Document], dict[str, Any]]
    hints: tuple[str, ...]
    answer: Callable[[Document, Document], dict[str, Any]]
    events: Callable[[Document], Events]
    watch: Callable[[], EventStream]
    error: Callable[[bytes], bytes]
    foreign_headers: str
    named: bool
    closing: bytes = b""


def directions_of(target: Target) -> Mapping[str, Direction]:
    """The translations for a model, by the path at which clients ask it."""
    if target.protocol == "anthropic":
        return {CHAT_PATH: _chat_over_messages(target.upstream_model), RESPONSES_PATH: _responses_over_messages(target)}
    return {MESSAGES_PATH: _messages_over_chat(_service(target))}


def _service(target: Target) -> ChatService:
    host = (target.base_url or "").partition("://")[2].partition("/")[0].partition(":")[0]
    is_openai = host.endswith(_OPENAI) or target.upstream_model.startswith(("azure/", "azure_ai/gpt"))
    return ChatService(
        max_tokens="max_completion_tokens" if is_openai else "max_tokens",
        most_stops=_MOST_STOPS if is_openai else None,
        takes_top_k=not is_openai,
        keeps_reasoning=host in _KEEP_REASONING,
    )


def _messages_over_chat(service: ChatService) -> Direction:
    return Direction(
        CHAT_PATH,
        partial(chat_request, service=service),
        CHAT_HINTS,
        message,
        lambda asked: MessageEvents(asked, n_input_tokens=count_input_tokens(asked)),
        ChatStream,
        messages_error_message,
        "anthropic-",
        named=True,
    )


def _chat_over_messages(service_model: str) -> Direction:
    return Direction(
        MESSAGES_PATH,
        partial(chat_as_messages, service_model=service_model),
        MESSAGES_HINTS,
        lambda answer, asked: completion(answer, asked, created=_now()),
        lambda asked: CompletionChunks(asked, created=_now()),
        MessagesStream,
        chat_error,
        "openai-",
        named=False,
        closing=DONE,
    )


def _responses_over_messages(target: Target) -> Direction:
    return Direction(
        MESSAGES_PATH,
        partial(responses_as_messages, service_model=target.upstream_model),
        MESSAGES_HINTS,
        lambda answer, asked: response(answer, asked, created=_now()),
        lambda asked: ResponseEvents(asked, created=_now()),
        MessagesStream,
        chat_error,
        "openai-",
        named=True,
    )


def _now() -> int:
    return int(time.time())
