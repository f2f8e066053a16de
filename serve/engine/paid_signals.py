"""Signals about an answer that cost money or time: further samples, P(true), a custom checker.

Each is requested only where it is used, is charged like any other call, and is unknown if it fails or is late.
"""

import asyncio
import importlib
import inspect
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
from prometheus_client import Counter

from pointsman.core.errors import ConfigError
from pointsman.serve.config.cascade import CascadeConfig, CheckerConfig
from pointsman.serve.config.secret import read_key
from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.read_json import read_json
from pointsman.serve.protocols.said import Said, read_said
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.attempts import Failover
from pointsman.serve.upstreams.base import Call

__all__ = ["Checker", "PaidSignals"]

_LOG = logging.getLogger(__name__)
_QUESTION = (
    "Question:\n{prompt}\n\nProposed answer:\n{answer}\n\n"
    "Is the proposed answer correct? Reply with one word: True or False."
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_MAX_TEXT = 20_000


class Checker:
    """A service or function that scores an answer, within a deadline.

    Attributes:
        n_absent: answers that it did not check, or not in time.
    """

    def __init__(self, config: CheckerConfig, *, absent: Counter | None = None) -> None:
        """Finds the function, if it is one.

        Raises:
            ConfigError: the function does not exist, or its key is not in the environment.
        """
        self.n_absent = 0
        self._absent = absent
        self._config = config
        self._key = read_key(config.api_key) if config.api_key is not None else None
        self._function = _function(config.entry_point) if config.entry_point is not None else None
        self._session: aiohttp.ClientSession | None = None

    async def score(self, prompt: str, said: Sequence[Said], document: Mapping[str, Any]) -> float | None:
        """Lowest score of the answers, in [0, 1]; None if there was none in time."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                found = [await self._ask(prompt, one, document) for one in said]
        except Exception as error:  # noqa: BLE001  (anyone's code; an answer is never lost for it)
            _LOG.warning("the checker gave no score: %s", str(error) or type(error).__name__)
            self.n_absent += 1
            if self._absent is not None:
                self._absent.inc()
            return None
        return min(found, default=None)

    async def score_text(self, prompt: str, text: str, document: Mapping[str, Any]) -> float | None:
        """Score of one answer's text, in [0, 1]; None if there was none in time."""
        return await self.score(prompt, [Said(text)], document)

    async def close(self) -> None:
        """Closes its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, prompt: str, said: Said, document: Mapping[str, Any]) -> float:
        if self._function is None:
            return _score(await self._post({"prompt": prompt, "answer": said.text, "request": document}))
        if inspect.iscoroutinefunction(self._function):
            return _score(await self._function(prompt, said.text, document))
        return _score(await asyncio.to_thread(self._function, prompt, said.text, document))

    async def _post(self, document: Mapping[str, Any]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = {"content-type": "application/json"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key.value}"
        url = self._config.url or ""
        body = await asyncio.to_thread(write_json, document)  # the request in it may be long
        async with self._session.post(url, data=body, headers=headers) as reply:
            if reply.status != 200:
                raise ValueError(f"it answered {reply.status}")
            return read_json(await reply.read())


class PaidSignals:
    """Agreement of samples, P(true) and the checker's score of one answer."""

    def __init__(self, config: CascadeConfig, failover: Failover, *, checker: Checker | None) -> None:
        self._samples, self._p_true = config.samples, config.p_true
        self._failover = failover
        self.checker = checker

    async def agreement(self, context: RequestContext, call: Call, model: str, said: Said) -> float | None:
        """Share of further samples that give the same answer; None if there are none."""
        if not self._samples:
            return None
        document = {**call.document, "stream": False, "n": 1} if call.path == CHAT.path else {**call.document}
        document = {name: value for name, value in document.items() if name != "stream_options"} | {"stream": False}
        body = await off_loop(len(call.body), write_json, document)
        again = replace(call, body=body, document=document, stream=False)
        asked = [self._ask(context, again, model) for _ in range(self._samples)]
        found = [one[0] for one in await asyncio.gather(*asked) if one]
        return sum(_result(one.text) == _result(said.text) for one in found) / len(found) if found else None

    async def p_true(self, context: RequestContext, call: Call, said: Said) -> float | None:
        """The asked model's probability that the answer is right, or None."""
        if self._p_true is None:
            return None
        text = _QUESTION.format(prompt=context.request.prompt[-_MAX_TEXT:], answer=said.text[-_MAX_TEXT:])
        document = {
            "model": self._p_true,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": 5,
        }
        question = replace(call, path=CHAT.path, body=write_json(document), document=document, stream=False)
        found = await self._ask(context, question, self._p_true)
        return _says_true(found[0]) if found else None

    async def _ask(self, context: RequestContext, call: Call, model: str) -> list[Said]:
        try:
            answered = await self._failover.ask(call, [model], CHAT.stream, context.attempts)
        except (UpstreamFailure, RequestError) as error:
            _LOG.warning("a signal of the cascade is missing: %s", error)
            return []
        reply = answered.reply
        return read_said(reply.parsed()) if reply.status < 400 else []


def _says_true(said: Said) -> float | None:
    word = said.text.strip().lower()
    if not word.startswith(("true", "false", "yes", "no")):
        return None
    right = word.startswith(("true", "yes"))
    sure = math.exp(said.logprobs[0]) if said.logprobs else 1.0
    return sure if right else 1.0 - sure


def _result(text: str) -> str:
    """What samples are compared by: the last number, or the text regardless of case and spacing."""
    numbers = _NUMBER.findall(text[-_MAX_TEXT:])
    return numbers[-1].replace(",", "") if numbers else " ".join(text.casefold().split())


def _score(found: Any) -> float:
    if isinstance(found, dict):
        found = found["score"] if "score" in found else found["accept"]
    score = float(found)
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"its score is {score}, wanted a number in [0, 1]")
    return score


def _function(entry_point: str) -> Callable[..., Any]:
    module, _, name = entry_point.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cascade.checker.entry_point: {entry_point} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(f"cascade.checker.entry_point: {entry_point} is a {type(found).__name__}, wanted a function")
    return found  # type: ignore[no-any-return]
