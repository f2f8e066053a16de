"""Draws comparisons, has them judged, keeps the certificate, and says which threshold is certified now.

Everything but `threshold` happens off the request path. Comparisons go to the store as rows; whichever process comes by
counts them into the shared state, each once; all processes read from it what is certified. While the store is away they
serve what was certified, and draw nothing.
"""

import asyncio
import logging
import random
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from pointsman.core.comparison_plan import ComparisonPlan
from pointsman.core.errors import PointsmanError, StoreError, UpstreamError
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot.state import AutopilotState, Counts, Generation, describe_generation
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.sample import Sample, take_sample
from pointsman.serve.feedback.shadow import Compared
from pointsman.serve.http.errors import RequestError
from pointsman.serve.request.record import Record
from pointsman.serve.store.rows import AutopilotRow, ComparisonRow, Row

__all__ = ["POLICY", "Autopilot", "Serving"]

_LOG = logging.getLogger(__name__)
_STATE = "autopilot"
POLICY = "autopilot"  # of the decisions whose threshold is certified
_TURN_S = 1.0
_AT_ONCE = 50
_WARM_UP = 100
_JUDGED = 40
_RESULTS = ("compared", "failed", "over_budget", "busy")


class AutopilotStore(Protocol):
    """What is needed of the store."""

    async def fold_autopilot(self, name: str, change: Callable[..., Any], *, limit: int = 50) -> tuple[Any, int]: ...


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves now, as far as it matters to a certificate.

    Attributes:
        router: name of the router that the autopilot steers.
        identity: of its weights.
        checkpoint: name of its checkpoint; None where it has none.
        pair: the strong and the weak model.
        terms: digest of models, judge, bound and confidence.
    """

    router: str
    identity: str
    checkpoint: str | None
    pair: ModelPair
    terms: str


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A request that was drawn, with what its row needs."""

    sample: Sample
    generation: int
    score: float
    probability: float
    n_undrawn: int
    plan: ComparisonPlan
    embedding: bytes | None


class Autopilot:
    """An observer of records and a component; the pipeline asks it for the certified threshold."""

    def __init__(
        self,
        config: AutopilotConfig,
        *,
        store: AutopilotStore,
        put: Callable[[Row], None],
        compare: Callable[[Sample], Any],
        registry: CollectorRegistry,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Draws nothing before `reconfigure` and `start`.

        Args:
            put: takes rows for the store.
            compare: has a sample compared: `Shadow.compare`.
            registry: of its metrics.
        """
        self.config: AutopilotConfig | None = config
        self._store, self._put, self._compare = store, put, compare
        self._rng, self._clock = rng or random.Random(), clock
        self._serving: Serving | None = None
        self._alarm: Callable[[], str | None] = lambda: None
        self._reset_alarm: Callable[[], Awaitable[object]] | None = None
        self._state = AutopilotState("")
        self._store_away = True  # until the state has been read
        self._generation: Generation | None = None
        self._thresholds: list[float] = []
        self._scores: list[float] = []  # of the first requests of a generation without a chain
        self._counts, self._n_undrawn = Counts(), 0
        self._pending: deque[tuple[_Drawn, asyncio.Task[Compared | None]]] = deque()
        self._slots = asyncio.Semaphore(config.concurrency)
        self._judged: deque[bool] = deque(maxlen=_JUDGED)
        self._task: asyncio.Task[None] | None = None
        self._threshold: float | None = None
        self._pause: str | None = None
        self._results = Counter(
            "pointsman_autopilot_comparisons", "Requests drawn for comparison: compared, failed, over budget, busy.",
            ["result"], registry=registry,
        )  # fmt: skip
        for result in _RESULTS:
            self._results.labels(result)
        self._gauges = {
            name: Gauge(f"pointsman_autopilot_{name}", text, registry=registry, multiprocess_mode="livemostrecent")
            for name, text in (
                ("certified_share", "Share of the traffic that is certified for the weak model."),
                (
                    "threshold",
                    "Certified threshold: strong iff the win rate is at least this; 0 while nothing is certified.",
                ),
                ("loss", "Estimated mean loss of quality of the certified policy."),
                ("generation", "Number of the active generation."),
                ("paused", "1 while comparisons are paused."),
            )
        }

    async def reconfigure(
        self,
        config: AutopilotConfig | None,
        serving: Serving,
        alarm: Callable[[], str | None] | None = None,
        reset_alarm: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Steers this router from now on, by what is certified for it.

        Args:
            config: None certifies nothing.
            alarm: gives what identifies the drift alarm of the router; None while there is none.
            reset_alarm: forgets the alarm, so that the next drift is noticed, too; None where the alarm would be raised
                again at once.
        """
        changed = self._serving is not None and self._serving != serving
        self.config, self._serving, self._alarm = config, serving, alarm or (lambda: None)
        self._reset_alarm = reset_alarm
        if changed or config is None:
            self._follow(None)
        await self._turn()

    def threshold(self, router: str) -> float | None:
        """The certified threshold of a router: 0 while nothing is certified; None where it is not steered."""
        if self.config is None or self._serving is None or router != self._serving.router:
            return None
        return self._threshold or 0.0

    async def start(self) -> None:
        """Begins; nothing is certified before `reconfigure`."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Leaves what is not compared yet, and tells what was counted."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        self._flush()
        for _, task in self._pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in self._pending), return_exceptions=True)
        self._pending.clear()
        await self._turn()

    def __call__(self, record: Record) -> None:
        """Counts a request that has ended, and draws it by chance."""
        decision, context, config = record.decision, record.context, self.config
        if config is None or self._serving is None or decision is None or context is None or decision.policy != POLICY:
            return
        if decision.win_rate is None or decision.reason != "win_rate" or record.outcome != "answered":
            return
        if len(decision.candidates) < 2:  # nothing was chosen
            return
        self._counts.n_requests += 1
        if record.model == self._serving.pair.weak:
            self._counts.n_weak += 1
            if record.strong_usd is None or record.cost_usd is None:
                self._counts.n_unpriced += 1
            else:
                self._counts.saved_usd += record.strong_usd - record.cost_usd
        generation = self._generation
        if generation is None or self._store_away or self._state.paused or record.model != decision.model:
            return
        if generation.certificate is None:
            if len(self._scores) < _WARM_UP:
                self._scores.append(decision.win_rate)
            return
        if generation.plan is not None and (sample := take_sample(record)) is not None:
            embedding = None if context.embedding is None else context.embedding.astype("<f4", copy=False).tobytes()
            self._draw(sample, decision.win_rate, generation, generation.plan, embedding, config)

    def _draw(
        self,
        sample: Sample,
        score: float,
        generation: Generation,
        plan: ComparisonPlan,
        embedding: bytes | None,
        config: AutopilotConfig,
    ) -> None:
        probability = plan.probability(bisect_right(self._thresholds, score))
        if self._rng.random() >= probability:
            self._n_undrawn += 1
            return
        drawn = _Drawn(sample, generation.number, score, probability, self._n_undrawn, plan, embedding)
        self._n_undrawn = 0
        if len(self._pending) >= config.queue:
            self._counts.n_busy += 1
            self._results.labels("busy").inc()
            return
        self._pending.append((drawn, asyncio.get_running_loop().create_task(self._compared(sample))))

    async def _compared(self, sample: Sample) -> Compared | None:
        async with self._slots:
            found: Compared | None = await self._compare(sample)
            return found

    def _flush(self) -> None:
        """Puts the comparisons that are ready, in the order in which they were drawn: not the quickest first."""
        while self._pending and self._pending[0][1].done():
            drawn, task = self._pending.popleft()
            result = self._finish(drawn, task)
            self._results.labels(result).inc()

    def _finish(self, drawn: _Drawn, task: "asyncio.Task[Compared | None]") -> str:
        try:
            compared = task.result()
        except asyncio.CancelledError:
            return "failed"
        except (UpstreamError, RequestError) as error:
            _LOG.warning("comparison of request %s: %s", drawn.sample.request_id, error)
            return self._failed()
        except Exception:  # noqa: BLE001  (whatever an upstream answers, the next comparison must still be made)
            _LOG.exception("comparison of request %s", drawn.sample.request_id)
            return self._failed()
        if compared is None:
            self._counts.n_over_budget += 1
            return "over_budget"
        self._judged.append(True)
        self._put(compared.row)
        self._put(self._row(drawn, compared))
        return "compared"

    def _row(self, drawn: _Drawn, compared: Compared) -> AutopilotRow:
        assert self._serving is not None
        return AutopilotRow(
            id=compared.row.id,
            at=compared.row.at,
            generation=drawn.generation,
            score=drawn.score,
            loss=_loss(compared.row, self._serving.pair),
            probability=drawn.probability,
            n_undrawn=drawn.n_undrawn,
            plan=(drawn.plan.reach, drawn.plan.inside, drawn.plan.outside),
            agreed=compared.agreed,
            cost_usd=compared.row.cost_usd or 0.0,
            embedding=drawn.embedding,
        )

    def _failed(self) -> str:
        self._counts.n_failed += 1
        self._judged.append(False)
        limit = self.config.max_failures if self.config is not None else 1.0
        if len(self._judged) == _JUDGED and self._judged.count(False) > limit * _JUDGED:
            self._judged.clear()
            self._pause = f"more than {limit:.0%} of the last {_JUDGED} comparisons failed; see the log, then resume"
        return "failed"

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TURN_S)
            self._flush()
            await self._turn()

    async def _turn(self) -> None:
        """Counts what is new into the shared state, and follows it."""
        if self.config is None or self._serving is None:
            return
        counts, self._counts = self._counts, Counts()
        scores = self._scores if len(self._scores) >= _WARM_UP else []
        pause, self._pause = self._pause, None
        try:
            n_folded = _AT_ONCE
            while n_folded == _AT_ONCE:
                change = _Change(self.config, self._serving, counts, self._alarm(), scores, pause, self._clock())
                kept, n_folded = await self._store.fold_autopilot(_STATE, change, limit=_AT_ONCE)
                counts, pause = Counts(), None
                self._follow(AutopilotState.from_dict(kept))
            if self._reset_alarm is not None and (alarm := self._alarm()) is not None and alarm == self._state.alarm:
                await self._reset_alarm()
        except StoreError as error:
            self._counts.add(counts)
            self._pause = pause or self._pause
            if not self._store_away:
                _LOG.warning("the autopilot keeps the certified threshold but makes no comparisons: %s", error)
            self._store_away, self._n_undrawn = True, 0
        except PointsmanError as error:
            self._follow(None)
            _LOG.error("the autopilot certifies nothing: %s", error)

    def _follow(self, state: AutopilotState | None) -> None:
        """Serves and draws by a state; None certifies nothing."""
        self._store_away = state is None
        if state is not None:
            self._state = state
        now = state.current if state is not None else None
        before, self._generation = self._generation, now
        if now is None or before is None or (now.number, now.plan) != (before.number, before.plan):
            self._n_undrawn = 0
        if now is None or now.certificate is not None or (before is not None and before.number != now.number):
            self._scores = []
        self._thresholds = [] if now is None or now.certificate is None else now.certificate.chain.thresholds.tolist()
        threshold = now.threshold if now is not None else 0.0
        self._threshold = max(threshold, 0.0)
        self._show()

    def _show(self) -> None:
        facts = self._facts()
        loss = facts["loss"]["value"] if facts.get("loss") else 0.0
        values = (facts.get("certified_share", 0.0), self._threshold or 0.0, loss, facts.get("number", 0))
        for name, value in zip(("certified_share", "threshold", "loss", "generation"), values, strict=True):
            self._gauges[name].set(value)
        self._gauges["paused"].set(self._state.paused is not None)

    def _facts(self) -> dict[str, Any]:
        if self._generation is None or self.config is None:
            return {}
        return describe_generation(self._generation, self.config.compare)

    async def act(self, action: str) -> dict[str, Any]:
        """Pauses comparing, resumes it, or resets: voids what is certified and starts over; the status after it.

        Raises:
            StoreError: the store is away.
        """
        assert self.config is not None and self._serving is not None
        now = self._clock()

        def change(kept: Any, rows: Any) -> Any:
            state = AutopilotState.from_dict(kept)
            if action == "reset":
                state.close("reset", now)
                state.paused = None
            else:
                state.paused = "by an administrator" if action == "pause" else None
            state.note(action, now)
            return state.to_dict()

        await self._store.fold_autopilot(_STATE, change, limit=0)
        await self._turn()
        return self.status()

    def status(self) -> dict[str, Any]:
        """Everything a person may want to see, as JSON types."""
        config, state = self.config, self._state
        if config is None or self._serving is None:
            return {"configured": False}
        counts, facts = state.counts, self._facts()
        per_comparison = state.compared_usd / state.n_compared if state.n_compared else None
        if facts.get("next") and facts["next"]["comparisons"] is not None and per_comparison is not None:
            facts["next"]["usd"] = round(facts["next"]["comparisons"] * per_comparison, 6)
        return {
            "configured": True,
            "state": self._word(),
            "paused": state.paused,
            "store_away": self._store_away,
            "router": self._serving.router,
            "strong": self._serving.pair.strong,
            "weak": self._serving.pair.weak,
            "judge": config.judge,
            "bound": {"max_loss": config.max_loss, "confidence": config.confidence},
            "compare": config.compare,
            "max_usd_per_day": config.max_usd_per_day,
            "certified_share": facts.get("certified_share", 0.0),
            "threshold": facts.get("threshold"),
            "loss": facts.get("loss"),
            "next": facts.get("next"),
            "generation": facts or None,
            "generations": [describe_generation(g, config.compare) for g in state.generations],
            "requests": {"n": counts.n_requests, "weak": counts.n_weak, "unpriced": counts.n_unpriced},
            "saved_usd": round(counts.saved_usd, 6),
            "net_saved_usd": round(counts.saved_usd - state.compared_usd, 6),
            "comparisons": {
                "n": state.n_compared, "failed": counts.n_failed, "over_budget": counts.n_over_budget,
                "busy": counts.n_busy, "waiting": len(self._pending), "usd": round(state.compared_usd, 6),
                "usd_each": per_comparison,
                "judge_disagrees_with_itself": 1.0 - state.n_agreed / state.n_compared if state.n_compared else None,
            },
            "events": state.events,
        }  # fmt: skip

    def _word(self) -> str:
        if self._store_away:
            return "store away"
        if self._state.paused:
            return "paused"
        if self._generation is None or self._generation.certificate is None:
            return "warming up"
        return "earning" if self._generation.certificate.n_open == 0 else "certified"


@dataclass(frozen=True, slots=True)
class _Change:
    """What a turn changes of the shared state."""

    config: AutopilotConfig
    serving: Serving
    counts: Counts
    alarm: str | None
    scores: list[float]
    pause: str | None
    now: float

    def __call__(self, kept: Any, rows: Any) -> Any:
        try:
            state = AutopilotState.from_dict(kept)
        except ValueError as error:
            _LOG.error("%s; the autopilot starts over", error)
            state = AutopilotState("")
        if self.alarm is not None and self.alarm != state.alarm:
            state.alarm = self.alarm
            state.close("drift", self.now)
        state.serve(self.serving.identity, self.serving.checkpoint, self.serving.terms, self.now)
        state.counts.add(self.counts)
        if self.pause is not None and state.paused is None:
            state.paused = self.pause
            state.note("paused", self.now, why=self.pause)
        if self.scores and state.current is not None:
            state.begin_chain(state.current.number, self.scores, self.config, self.now)
        state.count(rows, self.config, self.now)
        return state.to_dict()


def _loss(row: ComparisonRow, pair: ModelPair) -> float:
    """Strong's score less weak's: 1 where the strong answer won, 0 for a tie, -1 where it lost."""
    won = 2.0 * row.outcome - 1.0
    return won if row.model_a == pair.strong else -won
