"""Asks the router for the win rate of a prompt."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from pointsman.core.errors import PointsmanError
from pointsman.core.router import Reading, Router
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.in_step import InStep

__all__ = ["RouterThreads", "ScorePrompt"]

_LOG = logging.getLogger(__name__)
_N_THREADS = 8
Given = TypeVar("Given")
Found = TypeVar("Found")
_INLINE_CHARACTERS = 20_000  # a longer prompt takes milliseconds to tokenise: not on the event loop


class BadWinRateError(PointsmanError):
    """A router returned a win rate outside [0, 1]."""


class RouterThreads:
    """The threads of routers that block, made when the first one is asked."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[Given], Found], given: Given) -> Found:
        """`work(given)`, off the event loop."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="pointsman-router")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, given)

    def close(self) -> None:
        """Ends the threads as soon as each is idle; later prompts get new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


class ScorePrompt:
    """Scores the prompt. A router that fails, or takes too long, leaves no win rate, and the reason."""

    def __init__(
        self, routers: Mapping[str, ServedRouter], threads: RouterThreads, in_step: InStep, *, timeout_s: float
    ) -> None:
        self._routers = routers
        self._threads = threads
        self._in_step = in_step
        self._timeout_s = timeout_s
        self._batches: dict[int, _Batch] = {}  # by the router's id: a plug-in may have no hash

    async def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        if context.win_rate is not None:  # of a batch, which was scored as a whole
            context.checkpoint = self._routers[context.parsed.router].checkpoint
            return
        prompt = context.request.prompt
        if not prompt:
            context.reason = "the last user turn has no text"
            return
        served = self._routers[context.parsed.router]
        context.checkpoint = served.checkpoint
        try:
            reading = await self._read(served.router, prompt)
            context.win_rate, context.reason = reading.win_rate, reading.reason
            context.embedding = reading.embedding
            context.win_rates, context.bills = reading.win_rates, reading.bills
        except TimeoutError:
            context.reason = f"router failed: no win rate within {self._timeout_s:g} s"
        except Exception as error:  # noqa: BLE001  (a plug-in may raise anything; that must not fail the request)
            # Not its words: those of an embedding service may quote the prompt, or tell its address.
            _LOG.warning("router %s failed: %s", context.parsed.router, type(error).__name__)
            context.reason = f"router failed: {type(error).__name__}"

    async def _read(self, router: Router, prompt: str) -> Reading:
        if router.blocking or len(prompt) > _INLINE_CHARACTERS:
            async with asyncio.timeout(self._timeout_s):
                reading = await self._threads.run(router.read, prompt)
        elif self._in_step.is_crowded:
            reading = await self._read_together(router, prompt) or router.read(prompt)
        else:
            reading = router.read(prompt)
        for rate in (reading.win_rate, *(reading.win_rates or ())):
            if not (math.isfinite(rate) and 0.0 <= rate <= 1.0):
                raise BadWinRateError(f"its win rate is {rate}, wanted a number in [0, 1]")
        return reading

    def _read_together(self, router: Router, prompt: str) -> asyncio.Future[Reading | None]:
        batch = self._batches.get(id(router))
        if batch is None or batch.is_over or batch.n_characters + len(prompt) > _INLINE_CHARACTERS:
            batch = self._batches[id(router)] = _Batch(router)
            batch.loop.call_soon(batch.read)
        return batch.add(prompt)


class _Batch:
    """Prompts that come to a router in one turn of the event loop: read one after the other they would cost more."""

    def __init__(self, router: Router) -> None:
        self.loop = asyncio.get_running_loop()
        self.n_characters = 0
        self.is_over = False
        self._router = router
        self._waiting: list[tuple[str, asyncio.Future[Reading | None]]] = []

    def add(self, prompt: str) -> asyncio.Future[Reading | None]:
        """The reading of one more prompt, when it is there; None where it is to be read by itself."""
        reading = self.loop.create_future()
        self._waiting.append((prompt, reading))
        self.n_characters += len(prompt)
        return reading

    def read(self) -> None:
        """Reads them all, or none where one of them fails."""
        waiting = [(prompt, future) for prompt, future in self._waiting if not future.done()]
        self.is_over, self._waiting = True, []
        prompts, readings = [prompt for prompt, _ in waiting], list[Reading | None]()
        try:
            with suppress(Exception):  # which each will meet again by itself, or not
                readings = [*self._router.read_many(prompts)]
        finally:  # also where native code panics, which is no Exception: nobody waits forever
            if len(readings) != len(waiting):
                readings = [None] * len(waiting)
            for (_, future), reading in zip(waiting, readings, strict=True):
                future.set_result(reading)
