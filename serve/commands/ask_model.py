"""Calls a model through a controller, with retries."""

import asyncio
import random
from typing import Any

from pointsman.core.errors import UpstreamError
from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.judging.budget import estimate_tokens
from pointsman.serve.judging.journal import Reply
from pointsman.serve.protocols.said import read_said
from pointsman.serve.python_api.controller import Controller
from pointsman.serve.python_api.response import Answer
from pointsman.serve.upstreams.retry import is_retried

__all__ = ["ControllerAsk"]

_MAX_WAIT_S = 60.0


class ControllerAsk:
    """Calls a model by name; transient failures are retried with exponential backoff and jitter.

    Args:
        parameters: sent with every request, e.g. {"max_tokens": 1024, "temperature": 0}.
        attempts: attempts of one call before it counts as failed.
        first_wait_s: longest wait before the second attempt; it doubles from one attempt to the next.
    """

    def __init__(
        self, controller: Controller, parameters: dict[str, Any], *, attempts: int = 6, first_wait_s: float = 1.0
    ) -> None:
        self._controller = controller
        self._parameters = parameters
        self._attempts = attempts
        self._first_wait_s = first_wait_s
        self._rng = random.Random()

    async def __call__(self, model: str, prompt: str) -> Reply:
        """The model's reply to a single user turn.

        Raises:
            UpstreamError: every attempt failed, or the answer has no message.
        """
        messages = [{"role": "user", "content": prompt}]
        for attempt in range(1, self._attempts + 1):
            try:
                answer = await self._controller.acompletion(model=model, messages=messages, **self._parameters)
            except UpstreamFailure as error:
                if not is_retried(error.status) or attempt == self._attempts:
                    raise UpstreamError(f"{model}: {error}") from error
                await asyncio.sleep(self._rng.uniform(0.5, 1.0) * self._wait_s(attempt))
            else:
                return read_reply(answer, model, prompt)
        raise AssertionError("the last attempt returns or raises")

    def _wait_s(self, attempt: int) -> float:
        return float(min(self._first_wait_s * 2.0 ** (attempt - 1), _MAX_WAIT_S))


def read_reply(answer: Answer, model: str, prompt: str) -> Reply:
    """The text of a chat completion.

    Raises:
        UpstreamError: it has no choice with a message.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        refused = bool(message.get("refusal")) or choice.get("finish_reason") == "content_filter"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UpstreamError(f"{model} answered without a message: {str(dict(answer))[:200]}") from error
    usage, said = answer.get("usage") or {}, read_said(answer)[0]
    return Reply(
        text if isinstance(text, str) else "",
        refused,
        int(usage.get("prompt_tokens") or estimate_tokens(prompt)),
        int(usage.get("completion_tokens") or estimate_tokens(str(text))),
        said.logprobs,
        said.margin,
        said.finish_reason,
    )
