"""Upstreams that do not speak OpenAI's protocol, through LiteLLM, which is imported when the first is started."""

import asyncio
import os
from collections.abc import AsyncGenerator
from importlib import import_module
from typing import Any

from pointsman.core.errors import MissingExtraError
from pointsman.serve.config import TimeoutConfig
from pointsman.serve.errors import UpstreamFailure, error_body
from pointsman.serve.event_streams import DONE
from pointsman.serve.providers import Target
from pointsman.serve.upstreams.upstream import Call, Reply, Upstream, require_chat

__all__ = ["LiteLLMUpstream", "require_litellm"]

_JSON = ((b"content-type", b"application/json"),)
_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)
# OpenAI's parameters and what LiteLLM adds for other services. A request must not set anything else: LiteLLM takes
# URLs, keys, headers and callbacks by keyword, too.
_PARAMETERS = frozenset(
    [
        "messages",
        "functions",
        "function_call",
        "temperature",
        "top_p",
        "n",
        "stream",
        "stream_options",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "modalities",
        "prediction",
        "audio",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "response_format",
        "seed",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "verbosity",
        "safety_identifier",
        "service_tier",
        "store",
        "prompt_cache_key",
        "thinking",
        "web_search_options",
        "top_k",
    ]
)


class LiteLLMUpstream(Upstream):
    """One model of one of LiteLLM's providers."""

    def __init__(self, target: Target, timeouts: TimeoutConfig) -> None:
        self._target = target
        self._timeouts = timeouts
        self._litellm: Any = None

    @property
    def provider(self) -> str:
        return self._target.upstream_model.partition("/")[0]

    async def start(self) -> None:
        self._litellm = await asyncio.to_thread(require_litellm)

    async def close(self) -> None:
        await self._litellm.close_litellm_async_clients()

    async def send(self, call: Call) -> Reply:
        require_chat(call, self._target.name)
        answer = await self._ask(call)
        if isinstance(answer, Reply):
            return answer
        if call.stream:
            return Reply(200, _EVENTS, chunks=self._events(answer))
        return Reply(200, _JSON, answer.model_dump_json(exclude_none=True, warnings=False).encode())

    async def _ask(self, call: Call) -> Any:
        arguments = {name: value for name, value in call.document.items() if name in _PARAMETERS}
        key, url = self._target.api_key, self._target.base_url
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                return await self._litellm.acompletion(
                    **arguments,
                    model=self._target.upstream_model,
                    timeout=self._timeouts.total_s,
                    max_retries=0,
                    **({"api_base": url} if url else {}),
                    **({"api_key": key.value} if key else {}),
                )
        except TimeoutError as error:
            raise self._failure(f"sent no answer within {self._timeouts.first_byte_s:g} s", status=504) from error
        except self._litellm.exceptions.Timeout as error:
            raise self._failure("could not be reached in time", status=504) from error
        except self._litellm.exceptions.APIConnectionError as error:
            raise self._failure("could not be reached") from error
        except self._litellm.openai.OpenAIError as error:
            return self._error_reply(error)

    def _error_reply(self, error: Any) -> Reply:
        body = error_body(str(error.message), "upstream_error", code=getattr(error, "code", None) or "upstream_error")
        if self._target.api_key is not None:
            body = self._target.api_key.redact(body)
        return Reply(int(error.status_code), _JSON, body)

    async def _events(self, answer: Any) -> AsyncGenerator[bytes, None]:
        chunks = aiter(answer)
        try:
            while True:
                async with asyncio.timeout(self._timeouts.between_chunks_s):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                yield b"data: " + chunk.model_dump_json(exclude_none=True, warnings=False).encode() + b"\n\n"
        except TimeoutError as error:
            raise self._failure("stopped in the middle of its answer", status=504) from error
        except self._litellm.openai.OpenAIError as error:
            raise self._failure(f"broke off its answer: {type(error).__name__}") from error
        finally:
            await answer.aclose()
        yield DONE

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
    litellm.suppress_debug_info = True
    return litellm
