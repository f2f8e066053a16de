"""A model on the surfaces that its upstream does not speak: LiteLLM translates, our own upstream asks."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import orjson

from pointsman.core.errors import MissingExtraError
from pointsman.serve.http.errors import RequestError, UpstreamFailure, error_body
from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.openai_streams import ChatStream
from pointsman.serve.upstreams.base import Call, Reply, Upstream, refuse_surface
from pointsman.serve.upstreams.providers import Target
from pointsman.serve.upstreams.translated.arguments import (
    CHAT_PATH,
    MESSAGES_PATH,
    event_bytes,
    function_of,
    last_event,
    read_arguments,
    whole_bytes,
)
from pointsman.serve.upstreams.translated.litellm import require_litellm

__all__ = ["Translator"]

_LOG = logging.getLogger(__name__)
_JSON = ((b"content-type", b"application/json"),)
_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)
_NATIVE = {
    "openai": (CHAT_PATH, "/responses", "/embeddings"),
    "anthropic": (MESSAGES_PATH, "/messages/count_tokens"),
}
_TRANSLATED = {"openai": MESSAGES_PATH, "anthropic": CHAT_PATH}
# LiteLLM wants both and sends neither: its requests are taken from it before they leave the process.
_NOWHERE, _NO_KEY = "http://upstream.invalid", "unused"
_RENAMED_AT = ("https://api.openai.com/",)  # its newer models know max_completion_tokens alone


class Translator(Upstream):
    """One model: its own protocol passed through, the other one translated."""

    def __init__(self, native: Upstream, target: Target) -> None:
        self._native = native
        self._target = target
        self._paths = _NATIVE[target.protocol]
        self._translated = _TRANSLATED[target.protocol]
        self._provider = "anthropic" if target.protocol == "anthropic" else "custom_openai"  # in LiteLLM's words
        self._litellm: Any = None
        self._ask: Any = None
        self._client: Any = None

    @property
    def provider(self) -> str:
        return self._native.provider

    def serves(self, path: str) -> bool:
        return path in self._paths or (path == self._translated and _has_litellm())

    async def start(self) -> None:
        await self._native.start()
        if self._target.protocol == "anthropic":  # few ask it in its own words alone
            try:
                await self._load()
            except MissingExtraError as error:
                _LOG.warning("%s", self._alone(error))

    async def close(self) -> None:
        await self._native.close()

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        return self._native.send(call) if call.path in self._paths else self._translate(call)

    async def _translate(self, call: Call) -> Reply:
        if call.path != self._translated:
            refuse_surface(call, self._target.name, (*self._paths, self._translated))
        arguments = read_arguments(call, self._target.name)
        try:
            await self._load()
        except MissingExtraError as error:
            raise self._alone(error) from error
        from pointsman.serve.upstreams.translated.transport import PENDING, Pending

        pending = Pending(call)
        PENDING.set(pending)
        try:
            answer = await self._ask(
                **arguments,
                model=self._target.upstream_model,
                custom_llm_provider=self._provider,
                api_base=_NOWHERE,
                client=self._client,
                api_key=_NO_KEY,
                timeout=None,
                max_retries=0,
            )
        except Exception as error:
            await pending.hang_up()
            if pending.failure is not None:
                raise pending.failure from error
            if pending.refusal is not None:
                return _reworded(pending.refusal)
            raise self._untranslatable(pending, error) from error
        except asyncio.CancelledError:
            await pending.hang_up()
            raise
        if call.stream:
            return Reply(200, _EVENTS, chunks=self._events(answer, pending))
        return Reply(200, _JSON, whole_bytes(answer))

    async def _load(self) -> None:
        """Imports LiteLLM, which takes seconds, when its first translation is due."""
        if self._client is not None:
            return
        self._litellm, self._ask = await asyncio.to_thread(self._import)
        self._client = self._new_client()

    def _alone(self, error: MissingExtraError) -> RequestError:
        return RequestError(
            f"model {self._target.name!r} is served on {', '.join(f'/v1{path}' for path in self._paths)}; "
            f"/v1{self._translated} takes a translation: {error}",
            status=404,
            param="model",
            code="unsupported_surface",
        )

    def _import(self) -> tuple[Any, Any]:
        """LiteLLM and its function, with what they would import later, on the event loop, in the first call."""
        litellm, model = require_litellm(), self._target.upstream_model
        import_module("openai.resources")
        litellm.token_counter(model=model, text="Hello")
        return litellm, function_of(litellm, self._translated, model, self._provider)

    def _new_client(self) -> Any:
        """What LiteLLM takes for a connection to the upstream."""
        import httpx

        from pointsman.serve.upstreams.translated.transport import NativeTransport

        if self._target.protocol == "anthropic":
            client = self._litellm.AsyncHTTPHandler()
            client.client = httpx.AsyncClient(transport=NativeTransport(self._native, MESSAGES_PATH, MessagesStream))
            return client
        renames = self._target.url("/").startswith(_RENAMED_AT)
        adapt = _rename_max_tokens if renames else None
        transport = NativeTransport(self._native, CHAT_PATH, ChatStream, adapt=adapt)
        return self._litellm.openai.AsyncOpenAI(
            api_key=_NO_KEY, base_url=_NOWHERE, max_retries=0, http_client=httpx.AsyncClient(transport=transport)
        )

    async def _events(self, answer: Any, pending: Any) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in answer:
                if pending.failure is not None:
                    raise pending.failure
                yield event_bytes(chunk)
        except UpstreamFailure:
            raise
        except Exception as error:
            raise pending.failure or self._untranslatable(pending, error) from error
        finally:
            await pending.hang_up()
        if pending.failure is not None:
            raise pending.failure
        if last := last_event(pending.call):
            yield last

    def _untranslatable(self, pending: Any, error: Exception) -> RequestError | UpstreamFailure:
        """An error of LiteLLM's own: of the request before the upstream was asked, of the answer after."""
        name, problem = self._target.name, getattr(error, "message", None) or str(error)
        if pending.answered:
            code = "upstream_malformed"
            return UpstreamFailure(f"the answer of model {name!r} cannot be translated: {problem}", code=code)
        return RequestError(f"the request cannot be translated for model {name!r}: {problem}")


@cache
def _has_litellm() -> bool:
    return find_spec("litellm") is not None


def _reworded(refusal: Reply) -> Reply:
    """An upstream's error in OpenAI's shape, from which the surface makes its own."""
    try:
        error = orjson.loads(refusal.body)["error"]
        body = error_body(str(error["message"]), str(error["type"]), code=error.get("code"))
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        body = refusal.body
    return Reply(refusal.status, refusal.headers, body)


def _rename_max_tokens(document: dict[str, Any]) -> bool:
    if "max_tokens" not in document:
        return False
    document["max_completion_tokens"] = document.pop("max_tokens")
    return True
