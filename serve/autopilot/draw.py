"""Draws requests for comparison, has them compared, and makes the rows for the store, in the order of the draw."""

import asyncio
import logging
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Counter

from pointsman.core.arrays import Float32Array
from pointsman.core.autopilot import JointPlan
from pointsman.core.errors import UpstreamError
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot.generation import Generation
from pointsman.serve.autopilot.state import Counts
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.feedback.shadow import Compared
from pointsman.serve.http.errors import RequestError
from pointsman.serve.store.rows import AutopilotRow, Row

__all__ = ["RESULTS", "Draws", "Prompt"]

_LOG = logging.getLogger(__name__)
_WARM_UP = 100
_JUDGED = 40
RESULTS = ("compared", "failed", "over_budget", "busy")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is known of a prompt before it is answered."""

    win_rate: float
    n_characters: int
    embedding: Float32Array | None

    def score(self, generation: Generation) -> float:
        """By a generation; that of a prompt that goes to strong whatever is certified, where it cannot be told."""
        found = generation.score(self.win_rate, self.n_characters, self.embedding)
        return 1.0 if found is None else found


@dataclass(frozen=True, slots=True)
class _Running:
    """A generation with a chain, as draws need it."""

    generation: Generation
    thresholds: list[float]

    def cell(self, score: float) -> int:
        return bisect_right(self.thresholds, score)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A request that was drawn, with what its row needs."""

    sample: Sample
    prompt: Prompt
    running: tuple[_Running, ...]
    scores: tuple[float, ...]
    probability: float
    n_undrawn: int
    wants_label: bool
    label_share: float


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
        compare: Callable[[Sample], Awaitable[Compared | None]],
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
        self._running: tuple[_Running, ...] = ()
        self._warming: dict[int, list[float]] = {}  # scores of the first requests of generations without a chain
        self._generations: dict[int, Generation] = {}
        self._plan: JointPlan | None = None
        self._n_undrawn = 0
        self._pending: deque[tuple[_Drawn, asyncio.Task[Compared | None]]] = deque()
        self._slots = asyncio.Semaphore(config.concurrency)
        self._judged: deque[bool] = deque(maxlen=_JUDGED)

    @property
    def n_pending(self) -> int:
        """Draws that are not finished."""
        return len(self._pending)

    def follow(self, running: Sequence[Generation]) -> None:
        """Draws for these generations from now on, the one that serves first; for none where there are none."""
        made = tuple(_Running(g, g.certificate.chain.thresholds.tolist()) for g in running if g.certificate is not None)
        complete = bool(running) and running[0].certificate is not None
        plans = tuple(g.generation.plan for g in made if g.generation.plan is not None)
        plan = JointPlan(plans) if complete and len(plans) == len(made) else None
        before = [g.generation.number for g in self._running]
        if plan != self._plan or before != [g.generation.number for g in made]:
            self._n_undrawn = 0
        self._running, self._plan = made, plan
        self._generations = {g.number: g for g in running if g.certificate is None}
        self._warming = {number: self._warming.get(number, []) for number in self._generations}

    def forget_undrawn(self) -> None:
        """Leaves the requests out that were not drawn since the last comparison."""
        self._n_undrawn = 0

    def warmed_up(self) -> dict[int, list[float]]:
        """Scores of the first requests of generations without a chain, by number, where there are enough."""
        return {number: scores for number, scores in self._warming.items() if len(scores) >= _WARM_UP}

    def see(self, prompt: Prompt) -> None:
        """Lets a request's prompt help to make the chains that are still to be made."""
        for number, scores in self._warming.items():
            if len(scores) < _WARM_UP:
                scores.append(prompt.score(self._generations[number]))

    @property
    def draws(self) -> bool:
        """Whether requests are drawn now."""
        return self._plan is not None

    def draw(self, sample: Sample, prompt: Prompt, config: AutopilotConfig) -> None:
        """Draws a finished request by chance, or counts it as one that was not drawn."""
        if self._plan is None:
            return
        scores = tuple(prompt.score(g.generation) for g in self._running)
        cells = [g.cell(score) for g, score in zip(self._running, scores, strict=True)]
        probability = self._plan.probability(cells)
        if self._rng.random() >= probability:
            self._n_undrawn += 1
            return
        wants_label = self._rng.random() < config.label_share
        drawn = _Drawn(
            sample, prompt, self._running, scores, probability, self._n_undrawn, wants_label, config.label_share
        )
        self._n_undrawn = 0
        if len(self._pending) >= config.queue:
            self.counts.n_busy += 1
            self._results.labels("busy").inc()
            return
        self._pending.append((drawn, asyncio.get_running_loop().create_task(self._compared(sample))))

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

    async def _compared(self, sample: Sample) -> Compared | None:
        async with self._slots:
            return await self._compare(sample)

    def _finish(
        self,
        drawn: _Drawn,
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
            return self._failed(config)
        except Exception:  # noqa: BLE001  (whatever an upstream answers, the next comparison must still be made)
            _LOG.exception("comparison of request %s", drawn.sample.request_id)
            return self._failed(config)
        if compared is None or pair is None:
            self.counts.n_over_budget += 1
            return "over_budget"
        self._judged.append(True)
        if config is not None and config.source != "people":
            self._put(compared.row)
        self._put(_row(drawn, compared, pair))
        return "compared"

    def _failed(self, config: AutopilotConfig | None) -> str:
        self.counts.n_failed += 1
        self._judged.append(False)
        limit = config.max_failures if config is not None else 1.0
        if len(self._judged) == _JUDGED and self._judged.count(False) > limit * _JUDGED:
            self._judged.clear()
            self.pause = f"more than {limit:.0%} of the last {_JUDGED} comparisons failed; see the log, then resume"
        return "failed"


def _row(drawn: _Drawn, compared: Compared, pair: ModelPair) -> AutopilotRow:
    plans = [g.generation.plan for g in drawn.running]
    told = [(plan.reach, plan.inside, plan.outside) for plan in plans if plan is not None]
    beside = zip(drawn.running[1:], drawn.scores[1:], told[1:], strict=True)
    embedding = drawn.prompt.embedding
    return AutopilotRow(
        id=compared.row.id,
        at=compared.row.at,
        generation=drawn.running[0].generation.number,
        score=drawn.scores[0],
        loss=_loss(compared, pair),
        probability=drawn.probability,
        n_undrawn=drawn.n_undrawn,
        plan=told[0],
        agreed=compared.agreed,
        cost_usd=compared.row.cost_usd or 0.0,
        embedding=None if embedding is None else embedding.astype("<f4", copy=False).tobytes(),
        others=tuple((g.generation.number, score, *plan) for g, score, plan in beside),
        win_rate=drawn.prompt.win_rate,
        n_characters=drawn.prompt.n_characters,
        label_share=drawn.label_share,
        wants_label=int(drawn.wants_label),
        shown=_shown(drawn.sample, compared, pair) if drawn.wants_label else None,
    )


def _shown(sample: Sample, compared: Compared, pair: ModelPair) -> dict[str, str]:
    """What people are asked about; see `labels.py`."""
    strong, weak = sample.answer, compared.other_answer
    if sample.model != pair.strong:
        strong, weak = weak, strong
    return {"request_id": sample.request_id, "question": sample.question, "strong": strong, "weak": weak}


def _loss(compared: Compared, pair: ModelPair) -> float:
    """Strong's score less weak's: 1 where the strong answer won, 0 for a tie, -1 where it lost."""
    won = 2.0 * compared.share - 1.0
    return won if compared.row.model_a == pair.strong else -won
