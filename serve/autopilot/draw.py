"""Draws requests for comparison, has them compared, and makes the rows for the store, in the order of the draw."""

import asyncio
import logging
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from prometheus_client import Counter

from pointsman.core.arrays import Float32Array
from pointsman.core.autopilot import JointPlan
from pointsman.core.errors import UpstreamError
from pointsman.core.ladder import draw_rung
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot.generation import Generation
from pointsman.serve.autopilot.state import Counts
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.http.errors import RequestError
from pointsman.serve.store.rows import AutopilotRow, Row

__all__ = ["RESULTS", "Begins", "Draws", "Prompt"]

_LOG = logging.getLogger(__name__)
_WARM_UP = 100
_JUDGED = 40
RESULTS = ("compared", "failed", "over_budget", "busy", "read")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is scored: a prompt before it is answered, or of a cascade when the weak model's answer has been read.

    Attributes:
        win_rate: the router's, or the score of the weak answer.
        win_rates: of more than two candidates the reference's over each; None for a pair.
    """

    win_rate: float
    n_characters: int
    embedding: Float32Array | None
    win_rates: tuple[float, ...] | None = None

    def score(self, generation: Generation) -> float:
        """By a generation; that of a prompt that goes to strong whatever is certified, where it cannot be told."""
        found = generation.score(self.win_rate, self.n_characters, self.embedding)
        return 1.0 if found is None else found

    def begins(self, generation: Generation) -> "Begins":
        """What a chain is made of: the score, or of more than two candidates where each rung begins."""
        if not generation.bills:
            return self.score(generation)
        return tuple([rung.since for rung in generation.rungs(self.win_rates or (), self.n_characters)])


Begins: TypeAlias = float | tuple[float, ...]
Read: TypeAlias = Callable[[], Awaitable[tuple[Prompt, Other] | None]]  # None: the budget is exhausted


@dataclass(frozen=True, slots=True)
class _Running:
    """A generation with a chain, as draws need it."""

    generation: Generation
    thresholds: list[float]

    def cell(self, score: float) -> int:
        return bisect_right(self.thresholds, score)


@dataclass(slots=True)
class _Drawn:
    """A request that was drawn, with what its row needs.

    Attributes:
        plan: in force when it was drawn; None of a request whose answer is read for a chain that is still to be made.
        level: uniform in [0, 1): it is compared iff this is below the probability of its cells.
        prompt: None until the weak answer has been read.
        other: the answer that it is compared with; None until it has been asked for.
        was_read: its weak answer was asked for to be read; `only_read` if nothing else came of it.
        candidate, until: of more than two candidates, who is compared with the reference, and where its rung ends.
    """

    sample: Sample
    running: tuple[_Running, ...]
    plan: JointPlan | None
    level: float
    n_undrawn: int
    wants_label: bool
    label_share: float
    prompt: Prompt | None
    other: Other | None
    scores: tuple[float, ...] = ()
    probability: float = 1.0
    was_read: bool = False
    only_read: bool = False
    candidate: str | None = None
    until: float | None = None

    def place(self, prompt: Prompt) -> bool:
        """Finds the scores and the probability; whether it is compared."""
        self.prompt = prompt
        if self.plan is not None and self.running[0].generation.bills:
            return self._place_candidate(prompt, self.running[0], self.plan)
        self.scores = tuple(prompt.score(g.generation) for g in self.running)
        if self.plan is None:
            return False
        cells = [g.cell(score) for g, score in zip(self.running, self.scores, strict=True)]
        self.probability = self.plan.probability(cells)
        return self.level < self.probability

    def _place_candidate(self, prompt: Prompt, running: _Running, plan: JointPlan) -> bool:
        """Likewise of more than two candidates, of whom one is drawn; such a generation runs alone."""
        generation = running.generation
        rungs = [
            (rung, running.cell(rung.since)) for rung in generation.rungs(prompt.win_rates or (), prompt.n_characters)
        ]
        within = [(rung, cell) for rung, cell in rungs if cell < len(running.thresholds)]
        probabilities = plan.of_rungs([[cell for _, cell in within]], generation.most)
        found = draw_rung(range(len(within)), probabilities, self.level)
        if found is None:
            return False
        rung, self.probability = within[found[0]][0], found[1]
        self.candidate, self.until = generation.bills[rung.candidate][0], rung.until
        self.scores = (rung.since,)
        return True


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
        compare: Callable[[Sample, Other | None], Awaitable[Compared | None]],
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
        self._warming: dict[int, list[Begins]] = {}  # scores of the first requests of generations without a chain
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
        sample: Sample,
        prompt: Prompt | None,
        config: AutopilotConfig,
        *,
        other: Other | None = None,
        read: Read | None = None,
    ) -> None:
        """Draws a finished request by chance, or counts it as one that was not drawn.

        Args:
            prompt: None where the weak answer must be read first: `read` then asks for it.
            other: the answer to compare with, where it is there already.
        """
        plan = self._plan
        if plan is None and (prompt is not None or not self._warming):
            return
        level = self._rng.random()
        if plan is not None and not self._running[0].generation.bills and level >= plan.most:
            self._n_undrawn += 1
            return
        drawn = _Drawn(sample, self._running, plan, level, 0, False, config.label_share, prompt, other)
        if plan is not None:
            if prompt is not None and not drawn.place(prompt):
                self._n_undrawn += 1
                return
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

    async def _compared(self, drawn: _Drawn, read: Read | None) -> Compared | None:
        """None where the budget is exhausted, or the answer was only read."""
        async with self._slots:
            if drawn.prompt is None:
                found = await read() if read is not None else None
                if found is None:
                    return None
                prompt, drawn.other = found
                drawn.was_read, drawn.only_read = True, not drawn.place(prompt)
            if drawn.only_read:
                return None
            sample = drawn.sample if drawn.candidate is None else replace(drawn.sample, against=drawn.candidate)
            return await self._compare(sample, drawn.other)

    def _not_drawn(self, drawn: _Drawn) -> str:
        """Of an answer that was read, and whose request then is not compared."""
        self.counts.n_read += 1
        self.counts.read_usd += drawn.other.cost_usd if drawn.other is not None else 0.0
        following = self._pending[0][0] if self._pending else None
        if following is not None and following.plan is drawn.plan:
            following.n_undrawn += drawn.n_undrawn + 1
        elif following is None and drawn.plan is self._plan and self._plan is not None:
            self._n_undrawn += drawn.n_undrawn + 1
        return "read"

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
        if drawn.was_read and drawn.prompt is not None:
            self.see(drawn.prompt)
        if drawn.only_read:
            return self._not_drawn(drawn)
        if compared is None or pair is None:
            self.counts.n_over_budget += 1
            return "over_budget"
        self._judged.append(True)
        if config is not None and config.source != "people" and compared.row.model_a == drawn.sample.model:
            self._put(compared.row)  # else neither answer is the one that was given
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
    assert drawn.prompt is not None  # it is compared
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
        until=drawn.until,
        candidate=drawn.candidate,
    )


def _shown(sample: Sample, compared: Compared, pair: ModelPair) -> dict[str, str]:
    """What people are asked about; see `labels.py`."""
    strong, weak = compared.answer, compared.other.answer
    if compared.row.model_a != pair.strong:
        strong, weak = weak, strong
    return {"request_id": sample.request_id, "question": sample.question, "strong": strong, "weak": weak}


def _loss(compared: Compared, pair: ModelPair) -> float:
    """Strong's score less weak's: 1 where the strong answer won, 0 for a tie, -1 where it lost."""
    won = 2.0 * compared.share - 1.0
    return won if compared.row.model_a == pair.strong else -won
