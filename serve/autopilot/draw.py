"""Draws requests for comparison, has them compared, and makes the rows for the store, in the order of the draw."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from prometheus_client import Counter

from pointsman.core.autopilot import JointPlan
from pointsman.core.errors import UpstreamError
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot.counts import Counts
from pointsman.serve.autopilot.drawn import Drawn, make_row
from pointsman.serve.autopilot.generation import Generation
from pointsman.serve.autopilot.place import Begins, Prompt, Running, place_of
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import Row

__all__ = ["RESULTS", "Draws"]

_LOG = logging.getLogger(__name__)
_WARM_UP = 100
_JUDGED = 40
RESULTS = ("compared", "failed", "over_budget", "busy", "read")


Read: TypeAlias = Callable[[list[Charge]], Awaitable[tuple[Prompt, Other] | None]]  # None: the budget is exhausted


class Draws:
    """Those of one process.

    Attributes:
        counts: what was seen since the last report.
        pause: why comparing is to pause; None while it is not.
    """

    def __init__(
        self,
        config: AutopilotConfig,
        *,
        put: Callable[[Row], None],
        compare: Callable[[Sample, Other | None, list[Charge]], Awaitable[Compared | None]],
        results: Counter,
        rng: random.Random,
    ) -> None:
        """Draws nothing before `follow`.

        Args:
            put: takes rows for the store.
            compare: has a sample compared.
            results: counts what came of the draws.
        """
        self.counts = Counts()
        self.pause: str | None = None
        self._put, self._compare, self._results, self._rng = put, compare, results, rng
        self._running: tuple[Running, ...] = ()
        self._warming: dict[int, list[Begins]] = {}  # scores of the first requests of generations without a chain
        self._generations: dict[int, Generation] = {}
        self._plan: JointPlan | None = None
        self._n_undrawn = 0
        self._pending: deque[tuple[Drawn, asyncio.Task[Compared | None]]] = deque()
        self._slots = asyncio.Semaphore(config.concurrency)
        self._judged: deque[bool] = deque(maxlen=_JUDGED)

    @property
    def n_pending(self) -> int:
        """Draws that are not finished."""
        return len(self._pending)

    def follow(self, running: Sequence[Generation]) -> None:
        """Draws for these generations from now on, the one that serves first; for none where there are none."""
        made = tuple(Running(g, g.certificate.chain.thresholds.tolist()) for g in running if g.certificate is not None)
        complete = bool(running) and running[0].certificate is not None
        plans = tuple(g.generation.plan for g in made if g.generation.plan is not None)
        plan = JointPlan(plans) if complete and len(plans) == len(made) else None
        before = [g.generation.number for g in self._running]
        if plan != self._plan or before != [g.generation.number for g in made]:
            self._n_undrawn, self._plan = 0, plan
        self._running = made
        self._generations = {g.number: g for g in running if g.certificate is None}
        self._warming = {number: self._warming.get(number, []) for number in self._generations}

    def forget_undrawn(self) -> None:
        """Leaves the requests out that were not drawn since the last comparison."""
        self._n_undrawn = 0

    def warmed_up(self) -> dict[int, list[Begins]]:
        """Scores of the first requests of generations without a chain, by number, where there are enough."""
        return {number: scores for number, scores in self._warming.items() if len(scores) >= _WARM_UP}

    def see(self, prompt: Prompt) -> None:
        """Lets a request's prompt help to make the chains that are still to be made."""
        for number, scores in self._warming.items():
            if len(scores) < _WARM_UP:
                scores.append(prompt.begins(self._generations[number]))

    @property
    def draws(self) -> bool:
        """Whether requests are drawn now."""
        return self._plan is not None

    def draw(
        self,
        take: Callable[[], Sample | None],
        prompt: Prompt | None,
        config: AutopilotConfig,
        *,
        other: Other | None = None,
        read: Read | None = None,
    ) -> None:
        """Draws a finished request by chance, or counts it as one that was not drawn.

        Args:
            take: makes the sample of a request that is comparable.
            prompt: None where the weak answer must be read first: `read` then asks for it.
            other: the answer to compare with, where it is there already.
        """
        plan = self._plan
        if plan is None and (prompt is not None or not self._warming):
            return
        level, place = self._rng.random(), None
        if plan is not None and prompt is not None and (place := place_of(prompt, self._running, plan, level)) is None:
            self._n_undrawn += 1
            return
        if plan is not None and prompt is None and level >= plan.most:
            self._n_undrawn += 1
            return
        if (sample := take()) is None:
            return
        drawn = Drawn(sample, self._running, plan, level, 0, False, config.label_share, prompt, other, place)
        if plan is not None:
            drawn.wants_label = config.label_share > 0.0 and self._rng.random() < config.label_share
            drawn.n_undrawn, self._n_undrawn = self._n_undrawn, 0
        if len(self._pending) >= config.queue:
            self.counts.n_busy += 1
            self._results.labels("busy").inc()
            return
        self._pending.append((drawn, asyncio.get_running_loop().create_task(self._compared(drawn, read))))

    def pass_over(self) -> None:
        """Counts a request that no step sends to the weak model: it lost nothing, drawn or not."""
        self._n_undrawn += self._plan is not None

    async def close(self) -> None:
        """Leaves what is not compared yet."""
        for _, task in self._pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in self._pending), return_exceptions=True)
        self._pending.clear()

    def flush(self, config: AutopilotConfig | None, pair: ModelPair | None) -> None:
        """Puts the comparisons that are ready, in the order in which they were drawn: not the quickest first."""
        while self._pending and self._pending[0][1].done():
            drawn, task = self._pending.popleft()
            self._results.labels(self._finish(drawn, task, config, pair)).inc()

    async def _compared(self, drawn: Drawn, read: Read | None) -> Compared | None:
        """None where the budget is exhausted, or the answer was only read."""
        async with self._slots:
            if drawn.prompt is None:
                found = await read(drawn.charges) if read is not None else None
                if found is None:
                    return None
                prompt, drawn.other = found
                drawn.prompt, drawn.was_read = prompt, True
                if drawn.plan is not None:
                    drawn.place = place_of(prompt, drawn.running, drawn.plan, drawn.level)
                drawn.only_read = drawn.place is None
            if drawn.only_read:
                return None
            candidate = drawn.place.candidate if drawn.place is not None else None
            sample = drawn.sample if candidate is None else replace(drawn.sample, against=candidate)
            return await self._compare(sample, drawn.other, drawn.charges)

    def _not_drawn(self, drawn: Drawn) -> str:
        """Of an answer that was read, and whose request then is not compared."""
        self.counts.n_read += 1
        self.counts.read_usd += drawn.usd
        following = self._pending[0][0] if self._pending else None
        if following is not None and following.plan is drawn.plan:
            following.n_undrawn += drawn.n_undrawn + 1
        elif following is None and drawn.plan is self._plan and self._plan is not None:
            self._n_undrawn += drawn.n_undrawn + 1
        return "read"

    def _finish(
        self,
        drawn: Drawn,
        task: "asyncio.Task[Compared | None]",
        config: AutopilotConfig | None,
        pair: ModelPair | None,
    ) -> str:
        try:
            compared = task.result()
        except asyncio.CancelledError:
            return "failed"
        except (UpstreamError, RequestError) as error:
            _LOG.warning("comparison of request %s: %s", drawn.sample.request_id, error)
            return self._failed(drawn, config)
        except Exception:  # noqa: BLE001  (whatever an upstream answers, the next comparison must still be made)
            _LOG.exception("comparison of request %s", drawn.sample.request_id)
            return self._failed(drawn, config)
        if drawn.was_read and drawn.prompt is not None:
            self.see(drawn.prompt)
        if drawn.only_read:
            self._judged.append(True)
            return self._not_drawn(drawn)
        if compared is None or pair is None:
            self.counts.n_over_budget += 1
            self.counts.failed_usd += drawn.usd
            return "over_budget"
        self._judged.append(True)
        compared = replace(compared, row=replace(compared.row, id=new_row_id(time.time())))  # they are counted by it
        if config is not None and config.source != "people" and compared.row.model_a == drawn.sample.model:
            self._put(compared.row)  # else neither answer is the one that was given
        self._put(make_row(drawn, compared, pair))
        return "compared"

    def _failed(self, drawn: Drawn, config: AutopilotConfig | None) -> str:
        self.counts.n_failed += 1
        self.counts.failed_usd += drawn.usd
        self._judged.append(False)
        limit = config.max_failures if config is not None else 1.0
        if len(self._judged) == _JUDGED and self._judged.count(False) > limit * _JUDGED:
            self._judged.clear()
            self.pause = f"more than {limit:.0%} of the last {_JUDGED} comparisons failed; see the log, then resume"
        return "failed"
