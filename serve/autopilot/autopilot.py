"""Keeps the certificate with the other processes, and says which threshold is certified now.

Everything but `certified` happens off the request path. Comparisons go to the store as rows; whichever process comes by
counts them into the shared state, each once; all processes read from it what is certified. While the store is away they
serve what was certified, and draw nothing.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from uuid import uuid4

from prometheus_client import CollectorRegistry

from pointsman.core.errors import PointsmanError, StoreError
from pointsman.core.ladder import rung_at
from pointsman.serve.autopilot.counting import waits_for_label
from pointsman.serve.autopilot.counts import Counts
from pointsman.serve.autopilot.draw import Draws
from pointsman.serve.autopilot.fingerprints import Fingerprints, fingerprint_of
from pointsman.serve.autopilot.generation import Generation, describe_generation
from pointsman.serve.autopilot.metrics import AutopilotMetrics
from pointsman.serve.autopilot.observe_requests import Ask, Look, RequestObserver
from pointsman.serve.autopilot.place import Prompt
from pointsman.serve.autopilot.serving import Serving
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.autopilot.status import describe
from pointsman.serve.autopilot.training import Trainer
from pointsman.serve.autopilot.turn import Turn, act_on
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.record import Record
from pointsman.serve.request.together import Together
from pointsman.serve.store.rows import Row

__all__ = ["Autopilot"]

_LOG = logging.getLogger(__name__)
_STATE = "autopilot"
_TURN_S = 1.0
_AT_ONCE = 50


class AutopilotStore(Protocol):
    """What is needed of the store."""

    config: StoreConfig

    async def fold_autopilot(
        self, name: str, change: Callable[..., Any], *, limit: int = 50, waits: Callable[[Any, Any], bool] = ...
    ) -> tuple[Any, int]: ...


class Autopilot:
    """An observer of records and a component; the pipeline asks it for the certified threshold."""

    def __init__(
        self,
        config: AutopilotConfig,
        *,
        store: AutopilotStore,
        put: Callable[[Row], None],
        compare: Callable[[Sample, Other | None, list[Charge]], Any],
        ask: Ask,
        registry: CollectorRegistry,
        in_step: InStep,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Draws nothing before `reconfigure` and `start`.

        Args:
            put: takes rows for the store.
            compare: has a sample compared: `Shadow.compare`.
            ask: asks for the other model's answer alone: `Shadow.ask`.
            registry: of its metrics.
        """
        self.config: AutopilotConfig | None = config
        self._store, self._compare, self._ask, self._clock = store, compare, ask, clock
        self._look: Look | None = None
        self._writer = f"{os.getpid()}-{uuid4().hex[:8]}"
        self._serving: Serving | None = None
        self._configured_at = 0.0
        self._superseded = False
        self._alarm: Callable[[], str | None] = lambda: None
        self._reset_alarm: Callable[[], Awaitable[object]] | None = None
        self._state = AutopilotState("")
        self._store_away = True  # until the state has been read
        self._generation: Generation | None = None
        self._threshold = 0.0  # its certified one, which takes long to find
        self._metrics = AutopilotMetrics(registry)
        self._draws = Draws(
            config, put=put, compare=self._compared, results=self._metrics.results, rng=rng or random.Random()
        )
        self._fingerprints = Fingerprints()
        self._observer = RequestObserver(self._draws, self._fingerprints, ask=ask)
        self._ended = Together(in_step, self._see)  # requests that are still to be counted
        self._trainer = Trainer(self._writer, lambda change: store.fold_autopilot(_STATE, change, limit=0), clock=clock)
        self._task: asyncio.Task[None] | None = None
        self._turning = asyncio.Lock()  # one turn at a time, or an older state could be followed after a newer one

    async def reconfigure(
        self,
        config: AutopilotConfig | None,
        serving: Serving,
        alarm: Callable[[], str | None] | None = None,
        reset_alarm: Callable[[], Awaitable[object]] | None = None,
        look: Look | None = None,
    ) -> None:
        """Steers this router from now on, by what is certified for it.

        Args:
            config: None certifies nothing.
            alarm: gives what identifies the drift alarm of the router; None while there is none.
            reset_alarm: forgets the alarm, so that the next drift is noticed, too; None where the alarm would be raised
                again at once.
            look: scores a weak answer, where a cascade is certified; None where prompts alone decide.
        """
        self._ended.flush()
        self._look = look
        changed = self._serving is not None and self._serving != serving
        if self._serving != serving:
            self._configured_at = self._clock()
        self.config, self._serving, self._alarm = config, serving, alarm or (lambda: None)
        self._reset_alarm = reset_alarm
        self._observer.reconfigure(config, serving, look)
        if changed or config is None:
            self._follow(None)
        await self._turn()

    def certified(self, context: RequestContext, router: str) -> tuple[float | None, float] | None:
        """A prompt's score, and the threshold that is certified for it: 0 while nothing is.

        None where the router is not steered.
        """
        if (threshold := self.threshold(router)) is None:
            return None
        generation, win_rate = self._generation, context.win_rate
        if self._look is not None:  # the score of the answer decides
            return win_rate, threshold
        if generation is None or win_rate is None or threshold == 0.0:
            return win_rate, 0.0
        if generation.bills:
            return win_rate, 0.0 if context.win_rates is None else threshold
        score = generation.score(win_rate, len(context.request.prompt), context.embedding)
        return (win_rate, 0.0) if score is None else (score, threshold)

    def answer_score(self, context: RequestContext) -> Callable[[float], float] | None:
        """What the certified threshold is compared with, from the score of a weak answer; None without a cascade."""
        if self._look is None:
            return None
        generation, length, embedding = self._generation, len(context.request.prompt), context.embedding

        def score(read: float) -> float:
            return 1.0 if generation is None else Prompt(read, length, embedding).score(generation)

        return score

    def planned(self, context: RequestContext) -> str | None:
        """Whom the certified threshold sends a prompt to; None where `certified` says it all."""
        generation = self._generation
        if generation is None or not generation.bills or context.win_rates is None or not context.threshold:
            return None
        rungs = generation.rungs(context.win_rates, len(context.request.prompt), context.embedding)
        return generation.bills[rung_at(rungs, context.threshold)][0]

    def threshold(self, router: str) -> float | None:
        """The threshold that is certified now: 0 while nothing is; None where the router is not steered."""
        if self.config is None or self._serving is None or router != self._serving.router:
            return None
        return self._threshold

    async def start(self) -> None:
        """Begins; nothing is certified before `reconfigure`."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Leaves what is not compared yet, and tells what was counted."""
        if self._task is None:
            return
        async with self._turning:  # one that is under way has taken counts along
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        await self._trainer.close()
        self._flush()
        await self._draws.close()
        await self._turn()

    def __call__(self, record: Record) -> None:
        """Has a request that has ended counted, and drawn by chance: soon, with others."""
        self._ended(record)

    def _see(self, record: Record) -> None:
        may_draw = self._generation is not None and not self._store_away and not self._state.paused
        self._observer.see(record, may_draw=may_draw)

    async def act(self, action: str) -> dict[str, Any]:
        """Pauses comparing, resumes it, goes back a generation, or resets: voids all and starts over; the status then.

        Raises:
            StoreError: the store is away.
            ValueError: there is nothing to go back to.
        """
        assert self.config is not None and self._serving is not None

        def change(kept: Any, rows: Any) -> Any:
            state = AutopilotState.from_dict(kept)
            act_on(state, action, self._clock())
            return state.to_dict()

        await self._store.fold_autopilot(_STATE, change, limit=0)
        await self._turn()
        return self.status()

    def status(self) -> dict[str, Any]:
        """Everything a person may want to see, as JSON types."""
        if self.config is None or self._serving is None:
            return {"configured": False}
        self._ended.flush()
        away = "store away" if self._store_away else "superseded" if self._superseded else None
        return describe(self._state, self.config, self._serving, away=away, waiting=self._draws.n_pending)

    async def _compared(self, sample: Sample, other: Other | None, charges: list[Charge]) -> Compared | None:
        """Compares; the strong model's answer is asked for, too, where a third one's was given."""
        strong = self._serving.pair.strong if self._serving is not None else sample.model
        if sample.against == sample.model:
            sample = replace(sample, against=strong)
        elif sample.against is not None and sample.model != strong:
            if (asked := await self._ask(replace(sample, against=strong), charges)) is None:
                return None
            sample = replace(
                sample, model=strong, answer=asked.answer, n_tokens=asked.n_tokens, attempt=asked.attempt
            )  # fmt: skip
        compared: Compared | None = await self._compare(sample, other, charges)
        if compared is None:
            return None
        self._fingerprints.see(compared.row.model_b, fingerprint_of(compared.other.attempt))
        return compared

    def _flush(self) -> None:
        self._ended.flush()
        self._draws.flush(self.config, self._serving.pair if self._serving is not None else None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TURN_S)
            self._flush()
            await self._turn()

    async def _turn(self) -> None:
        """Counts what is new into the shared state, and follows it."""
        async with self._turning:
            if self.config is not None and self._serving is not None:
                await self._take_turn(self.config, self._serving)

    async def _take_turn(self, config: AutopilotConfig, serving: Serving) -> None:
        self._ended.flush()
        draws = self._draws
        counts, draws.counts = draws.counts, Counts()
        pause, draws.pause = draws.pause, None
        scores, (first, changed) = draws.warmed_up(), self._fingerprints.take()
        try:
            n_folded = _AT_ONCE
            while n_folded == _AT_ONCE:
                turn = Turn(
                    config, serving, self._writer, counts, self._alarm(), self._clock(),
                    scores=scores, pause=pause, first=first, changed=changed, configured_at=self._configured_at,
                )  # fmt: skip
                kept, n_folded = await self._store.fold_autopilot(_STATE, turn, limit=_AT_ONCE, waits=waits_for_label)
                counts, pause, first, changed = Counts(), None, {}, {}
                self._follow(AutopilotState.from_dict(kept))
            if self._reset_alarm is not None and (alarm := self._alarm()) is not None and alarm == self._state.alarm:
                await self._reset_alarm()
            if self._task is not None:
                self._trainer.begin_if_claimed(self._state, config, self._store.config)
        except StoreError as error:
            draws.counts.add(counts)
            draws.pause = pause or draws.pause
            if not self._store_away:
                _LOG.warning("the autopilot keeps the certified threshold but makes no comparisons: %s", error)
            self._store_away = True
            draws.forget_undrawn()
        except PointsmanError as error:
            self._follow(None)
            _LOG.error("the autopilot certifies nothing: %s", error)

    def _follow(self, state: AutopilotState | None) -> None:
        """Serves and draws by a state; None certifies nothing."""
        self._store_away, superseded, serving = state is None, False, self._serving
        now: Generation | None = None
        running: Sequence[Generation] = ()
        if state is not None and serving is not None:
            self._state, self._fingerprints.known = state, state.fingerprints
            if superseded := not state.is_served(serving.identity, serving.terms):
                if not self._superseded:
                    _LOG.warning("the autopilot certifies nothing here: another process has a newer configuration")
            else:
                now, running = state.current, state.running
        self._superseded, self._generation = superseded, now
        self._draws.follow(running)
        facts = describe_generation(now, self.config.compare) if now is not None and self.config is not None else {}
        pays = now is not None and serving is not None and now.share > serving.weak_cost
        self._threshold = max(now.threshold, 0.0) if now is not None and pays else 0.0
        self._metrics.show(facts, threshold=self._threshold, paused=self._state.paused is not None)
