"""Counts the requests that a certificate decided, and draws some of them for comparison."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from pointsman.core.decision import Decision
from pointsman.serve.autopilot.draw import Draws
from pointsman.serve.autopilot.fingerprints import Fingerprints, fingerprint_of
from pointsman.serve.autopilot.place import Prompt
from pointsman.serve.autopilot.serving import Serving
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.comparison import Other
from pointsman.serve.feedback.sample import Sample, answer_text, is_comparable, take_sample
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.request.cascade_run import CascadeRun
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.record import Record
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["Ask", "Look", "RequestObserver"]

_POLICY = "autopilot"  # of the decisions whose threshold is certified
Look: TypeAlias = Callable[[RequestContext, Attempt], Awaitable[float]]  # scores a weak answer
Ask: TypeAlias = Callable[[Sample, list[Charge]], Awaitable[Other | None]]  # `Shadow.ask`


class RequestObserver:
    """Sees the finished requests of one process."""

    def __init__(self, draws: Draws, fingerprints: Fingerprints, *, ask: Ask) -> None:
        """Sees nothing before `reconfigure`.

        Args:
            ask: asks for the other model's answer alone: `Shadow.ask`.
        """
        self._draws, self._fingerprints, self._ask = draws, fingerprints, ask
        self._config: AutopilotConfig | None = None
        self._serving: Serving | None = None
        self._look: Look | None = None

    def reconfigure(self, config: AutopilotConfig | None, serving: Serving, look: Look | None) -> None:
        """Sees the requests to this router from now on; see `Autopilot.reconfigure`."""
        self._config, self._serving, self._look = config, serving, look

    def see(self, record: Record, *, may_draw: bool) -> None:
        """Counts a request that has ended, and draws it by chance."""
        decision, context, config = record.decision, record.context, self._config
        if config is None or self._serving is None or decision is None or context is None or decision.policy != _POLICY:
            return
        if record.outcome != "answered" or len(decision.candidates) < 2:  # nothing was chosen
            return
        run = context.cascade
        if self._look is not None:
            if run is None or not _as_planned(run, record.model):
                return
        elif context.win_rate is None or decision.reason != "win_rate":
            return
        self._count(record, run)
        if context.attempts and record.model is not None:
            self._fingerprints.see(record.model, fingerprint_of(context.attempts[-1]))
        if not may_draw:
            return
        if self._look is not None and run is not None:
            self._see_answer(record, context, run, self._look, config)
        elif record.model == decision.model and context.win_rate is not None:
            if self._serving.bills and not self._is_planned(context, decision):
                return
            prompt = Prompt(context.win_rate, len(context.request.prompt), context.embedding, context.win_rates)
            self._draws.see(prompt)
            if self._draws.draws and is_comparable(record):
                self._draws.draw(partial(take_sample, record), prompt, config)

    def _is_planned(self, context: RequestContext, decision: Decision) -> bool:
        """Whether the choice was among all candidates, and as the certified threshold has it."""
        assert self._serving is not None
        planned = context.planned or self._serving.pair.strong
        able = set(decision.candidates) >= {name for name, _ in self._serving.bills}
        return able and decision.model == planned and context.win_rates is not None

    def _count(self, record: Record, run: CascadeRun | None) -> None:
        """A request under the certificate; of one whose weak answer was read, both bills."""
        assert self._serving is not None
        counts = self._draws.counts
        counts.n_requests += 1
        counts.n_weak += record.model != self._serving.pair.strong
        if record.model == self._serving.pair.strong and (run is None or run.score is None):
            return
        if record.strong_usd is None or record.cost_usd is None:
            counts.n_unpriced += 1
        else:
            counts.saved_usd += record.strong_usd - record.cost_usd

    def _see_answer(
        self, record: Record, context: RequestContext, run: CascadeRun, look: Look, config: AutopilotConfig
    ) -> None:
        """Draws a request by the score of its weak answer; where that was not asked for, it is for comparison alone."""
        if not is_comparable(record):
            return
        take, length = partial(take_sample, record), len(context.request.prompt)
        if run.score is None:

            async def read(charges: list[Charge]) -> tuple[Prompt, Other] | None:
                if (sample := take()) is None or (other := await self._ask(sample, charges)) is None:
                    return None
                return Prompt(await look(context, other.attempt), length, context.embedding), other

            self._draws.draw(take, None, config, read=read)
            return
        prompt = Prompt(run.score, length, context.embedding)
        self._draws.see(prompt)
        if run.score >= 1.0:
            self._draws.pass_over()
        elif not run.escalated:
            self._draws.draw(take, prompt, config)
        elif (other := _escalated_answer(context, run)) is not None:
            self._draws.draw(take, prompt, config, other=other)


def _as_planned(run: CascadeRun, model: str | None) -> bool:
    """Whether the model answered that the certified threshold sends the request to: nothing was down."""
    if run.certified is None:
        return False
    if not run.stages:
        return run.look == "strong" and model == run.models[-1]
    return run.score is not None and model == run.models[-1 if run.escalated else 0]


def _escalated_answer(context: RequestContext, run: CascadeRun) -> Other | None:
    """The weak answer of an escalated request, which is paid already; None where its words are not all there."""
    attempt = next((a for a in reversed(context.attempts) if a.model == run.models[0] and a.result == "200"), None)
    text = answer_text(attempt) if attempt is not None else None
    if attempt is None or not text:
        return None
    usage = attempt.usage(context.request.document)
    return Other(text, attempt, usage.output_tokens if usage is not None else 0)
