"""The translations for each API and model."""

import time
from collections.abc import Mapping
from functools import partial

from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.openai_streams import DONE, ChatStream
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
from pointsman.serve.protocols.translation.responses_over_messages.answer import response
from pointsman.serve.protocols.translation.responses_over_messages.request import (
    messages_request as responses_as_messages,
)
from pointsman.serve.protocols.translation.responses_over_messages.stream import ResponseEvents
from pointsman.serve.upstreams.providers import Target
from pointsman.serve.upstreams.translated.directions import CHAT_PATH, MESSAGES_PATH, RESPONSES_PATH, Direction

__all__ = ["translations_of"]

# Services whose newer models know `max_completion_tokens` alone, and which refuse what OpenAI's API does not have.
_OPENAI = ("api.openai.com", ".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_KEEP_REASONING = ("api.deepseek.com", "api.moonshot.ai", "api.moonshot.cn")
_MOST_STOPS = 4


def translations_of(target: Target) -> Mapping[str, Direction]:
    """The translations for a model, by the client's path."""
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
