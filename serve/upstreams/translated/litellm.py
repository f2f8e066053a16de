"""Upstreams that speak neither OpenAI's protocol nor Anthropic's, through LiteLLM, imported with the first of them."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from functools import cache
from importlib import import_module
from typing import Any

from pointsman.core.errors import MissingExtraError
from pointsman.serve.config import TimeoutConfig
from pointsman.serve.http.errors import UpstreamFailure, error_body
from pointsman.serve.upstreams.base import Call, Reply, Upstream
from pointsman.serve.upstreams.providers import Target
from pointsman.serve.upstreams.translated.arguments import (
    CHAT_PATH,
    MESSAGES_PATH,
    event_bytes,
    function_of,
    last_event,
    read_arguments,
    takes,
    whole_bytes,
    without_unknown_hints,
)
from pointsman.serve.upstreams.translated.clients import SharedClients, use_clients
from pointsman.serve.upstreams.translated.messages import speaks_messages

__all__ = ["LiteLLMUpstream", "require_litellm"]

_JSON = ((b"content-type", b"application/json"),)
_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)


class LiteLLMUpstream(Upstream):
    """One model of one of LiteLLM's providers."""

    def __init__(self, target: Target, timeouts: TimeoutConfig) -> None:
        self._target = target
        self._timeouts = timeouts
        self._litellm: Any = None
        self._clients: SharedClients | None = None
        self._speaks_messages = False

    @property
    def provider(self) -> str:
        return self._target.upstream_model.partition("/")[0]

    def serves(self, path: str) -> bool:
        return takes(path)

    def redact(self, data: bytes) -> bytes:
        return self._target.redact(data)

    async def start(self) -> None:
        self._litellm = await asyncio.to_thread(require_litellm)
        self._speaks_messages = speaks_messages(self._litellm, self._target.upstream_model, self.provider)
        self._clients = use_clients(self._litellm)

    def speaks(self, path: str) -> bool:
        """Whether a model is called through the Messages API; known once it has started."""
        return path == MESSAGES_PATH and self._speaks_messages

    async def close(self) -> None:
        if self._clients is not None:
            clients, self._clients = self._clients, None
            await clients.release()

    async def send(self, call: Call) -> Reply:
        answer = await self._ask(call)
        if isinstance(answer, Reply):
            return answer
        if call.stream:
            return Reply(200, _EVENTS, chunks=self._events(call, answer))
        return Reply(200, _JSON, whole_bytes(answer))

    async def _ask(self, call: Call) -> Any:
        arguments = read_arguments(call, self._target.name)
        if call.path == CHAT_PATH:
            supported = self._litellm.get_supported_openai_params(model=self._target.upstream_model)
            arguments = without_unknown_hints(arguments, supported or ())
        ask = function_of(self._litellm, call.path)
        if self._clients is not None:
            self._clients.bind()
        key, url = self._target.api_key, self._target.base_url
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                return await ask(
                    **arguments,
                    model=self._target.upstream_model,
                    timeout=self._timeouts.total_s,
                    max_retries=0,
                    **({"api_base": url} if url else {}),
                    **({"api_key": key.value} if key else {}),
                    **({"extra_headers": dict(headers)} if (headers := self._target.headers) else {}),
                )
        except TimeoutError as error:
            raise self._failure(f"sent no answer within {self._timeouts.first_byte_s:g} s", status=504) from error
        except self._litellm.exceptions.Timeout as error:
            raise self._failure("could not be reached in time", status=504) from error
        except self._litellm.exceptions.APIConnectionError as error:
            raise self._failure("could not be reached") from error
        except Exception as error:  # noqa: BLE001  (its errors have no common class)
            return self._error_reply(error)

    def _error_reply(self, error: Exception) -> Reply:
        status = getattr(error, "status_code", None)
        if not isinstance(status, int) or not 400 <= status < 600:
            raise self._failure(f"could not be called: {type(error).__name__}") from error
        message, code = getattr(error, "message", None) or str(error), getattr(error, "code", None)
        body = error_body(str(message), "upstream_error", code=code or "upstream_error")
        return Reply(status, _JSON, body)

    async def _events(self, call: Call, answer: Any) -> AsyncGenerator[bytes, None]:
        chunks = aiter(answer)
        try:
            while True:
                async with asyncio.timeout(self._timeouts.between_chunks_s):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                yield event_bytes(chunk)
        except TimeoutError as error:
            raise self._failure("stopped in the middle of its answer", status=504) from error
        except Exception as error:
            raise self._failure(f"broke off its answer: {type(error).__name__}") from error
        finally:
            if close := getattr(answer, "aclose", None):
                await close()
        if last := last_event(call):
            yield last

    def _failure(self, problem: str, *, status: int = 502) -> UpstreamFailure:
        code = "upstream_timeout" if status == 504 else "upstream_error"
        return UpstreamFailure(f"the upstream of model {self._target.name!r} {problem}", status=status, code=code)


def require_litellm() -> Any:
    """The package, imported so that it makes no network call and prints no advice.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        litellm: Any = import_module("litellm")
    except ModuleNotFoundError as error:
        raise MissingExtraError("litellm", "litellm") from error
    _follow_no_redirects()
    litellm.suppress_debug_info = True
    litellm.use_chat_completions_url_for_anthropic_messages = True  # its other way needs further packages
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # what it logs as errors is raised, too, and told by us
    return litellm


@cache
def _follow_no_redirects() -> None:
    """Makes LiteLLM's clients return redirects as answers: another host must get neither prompts nor keys."""
    handler: Any = import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
    base: Any = import_module("litellm.llms.openai.common_utils").BaseOpenAILLM
    create, get = handler.create_client, base._get_async_http_client

    def staying(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **options: Any) -> Any:
            client = make(*args, **options)
            client.follow_redirects = False
            return client

        return made

    handler.create_client = staying(create)
    base._get_async_http_client = staticmethod(staying(get))
