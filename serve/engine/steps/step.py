"""The steps that a request passes on its way to a decision.

Each fills in its part of the exchange; the engine runs them in order. A new consideration is a new step.
"""

import asyncio
import logging
import math
from collections.abc import Collection, Mapping
from concurrent.futures import Executor
from functools import lru_cache, partial
from typing import Protocol

from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError
from pointsman.core.pair import ModelPair
from pointsman.core.router import Reading, Router
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.protocols.model_field import parse_model_field
from pointsman.serve.request.context import Exchange
from pointsman.serve.upstreams.base import Upstream

__all__ = ["CheckSurface", "ChooseModel", "ResolveModel", "ScorePrompt", "Step"]

_LOG = logging.getLogger(__name__)
_INLINE_CHARACTERS = 20_000  # a longer prompt takes milliseconds to tokenise: not on the event loop


class Step(Protocol):
    """One step of the line."""

    async def __call__(self, exchange: Exchange) -> None: ...


class ResolveModel:
    """Reads the model field: which router with which threshold, or which model."""

    def __init__(self, routers: Mapping[str, ServedRouter], models: Collection[str]) -> None:
        self._models = models
        self._parse = lru_cache(maxsize=1024)(partial(parse_model_field, routers=routers, models=models))

    async def __call__(self, exchange: Exchange) -> None:
        field = self._parse(exchange.request.model)
        if field.router is not None and not exchange.surface.routed:
            raise RequestError(
                f"model {exchange.request.model!r} means a router, and /v1{exchange.surface.path} is not routed: "
                f"name a model; there are {', '.join(self._models)}",
                param="model",
            )
        exchange.wanted = field


class ScorePrompt:
    """Asks the router for the win rate. One that fails, or takes too long, leaves none, and the reason."""

    def __init__(self, routers: Mapping[str, ServedRouter], executor: Executor, *, timeout_s: float) -> None:
        self._routers = routers
        self._executor = executor
        self._timeout_s = timeout_s

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.wanted is None or exchange.wanted.router is None:
            return
        prompt = exchange.request.prompt
        if not prompt:
            exchange.reason = "the last user turn has no text"
            return
        served = self._routers[exchange.wanted.router]
        exchange.checkpoint = served.checkpoint
        try:
            reading = await self._read(served.router, prompt)
            exchange.win_rate, exchange.reason = reading.win_rate, reading.reason
            exchange.embedding = reading.embedding
        except TimeoutError:
            exchange.reason = f"router failed: no win rate within {self._timeout_s:g} s"
        except Exception as error:  # noqa: BLE001  (anyone's code; its failure must not fail the request)
            _LOG.exception("router %s failed", exchange.wanted.router)
            exchange.reason = f"router failed: {error if isinstance(error, PointsmanError) else type(error).__name__}"

    async def _read(self, router: Router, prompt: str) -> Reading:
        if router.blocking or len(prompt) > _INLINE_CHARACTERS:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._timeout_s):
                reading = await loop.run_in_executor(self._executor, router.read, prompt)
        else:
            reading = router.read(prompt)
        if not (math.isfinite(reading.win_rate) and 0.0 <= reading.win_rate <= 1.0):
            raise PointsmanError(f"its win rate is {reading.win_rate}, wanted a number in [0, 1]")
        return reading


class CheckSurface:
    """Leaves out the model of the pair that is not served on the request's surface, where the other one is."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.wanted is None or exchange.wanted.router is None:
            return
        path = exchange.surface.path
        able = tuple([model for model in exchange.candidates if self._upstreams[model].serves(path)])
        if able and len(able) < len(exchange.candidates):
            exchange.candidates, exchange.reason = able, f"served on /v1{path}"


class ChooseModel:
    """Strong iff win_rate >= threshold, or where there is no win rate; but the conversation's model if it stays."""

    def __init__(self, pair: ModelPair) -> None:
        self._pair = pair

    async def __call__(self, exchange: Exchange) -> None:
        field = exchange.wanted
        if field is not None and field.model is not None:
            exchange.decision = Decision(field.model, None, None, None, "pass-through", (field.model,))
            return
        win_rate, threshold = exchange.win_rate, exchange.threshold
        strong = win_rate is None or threshold is None or win_rate >= threshold
        model = self._pair.strong if strong else self._pair.weak
        candidates = exchange.candidates or (self._pair.strong, self._pair.weak)
        if exchange.stays is not None and exchange.stays != model:
            model, exchange.reason = exchange.stays, "session"
        exchange.decision = Decision(
            model=model if model in candidates else candidates[0],
            win_rate=win_rate,
            threshold=threshold,
            router=field.router if field is not None else None,
            reason=exchange.reason,
            candidates=candidates,
            policy=exchange.policy,
        )
