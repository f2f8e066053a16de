"""Plans a cascade: decides from the prompt whether to check the cheap model's answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pointsman.core.decision import Decision
from pointsman.serve.config.cascade import CascadeConfig
from pointsman.serve.engine.served_verifier import ServedVerifier
from pointsman.serve.request.cascade_run import CascadeRun
from pointsman.serve.request.context import RequestContext

__all__ = ["PlanCascade"]


class PlanCascade:
    """The first look. Surely hard prompts go to the next model at once; the others to the first, whose answer is read.

    Requests for a stream are left to the router unless the configuration says otherwise, as are those that name a
    model, stay with one, or whose prompt no router could read.
    """

    def __init__(self, config: CascadeConfig, models: Sequence[str], verifiers: Mapping[str, ServedVerifier]) -> None:
        self._models = tuple(models)
        self._streams = config.stream != "off"
        self._max_wait_s = config.max_wait_s
        self._verifiers = verifiers

    async def __call__(self, context: RequestContext) -> None:
        decision = context.decision
        if decision is None or decision.router is None or not (context.surface.routed and context.surface.charged):
            return
        rule = context.rule
        allowed = rule.models if rule is not None and rule.models else decision.candidates
        models = tuple(name for name in self._models if name in allowed)
        context.no_cascade = self._without(context, decision, models)
        if context.certified is not None and context.sticky is None and not context.is_bound:
            self._plan_certified(context, decision, context.certified)
            return
        if context.no_cascade:
            return
        verifier = self._verifiers.get(models[0])
        if verifier is None or context.win_rate is None or context.sticky is not None:
            rest = models[models.index(decision.model) :]
            context.cascade = CascadeRun(rest, "checks") if len(rest) > 1 else None
            context.no_cascade = "" if len(rest) > 1 else "the last model of the cascade was chosen"
            return
        run = await verifier.look(context, models)
        while run.look == "strong" and len(models) > 2 and (following := self._verifiers.get(models[1])) is not None:
            models, verifier = models[1:], following
            run = await verifier.look(context, models)
        if self._takes_too_long(run, verifier.seconds):
            context.no_cascade = f"it is expected to take longer than max_wait_s, {self._max_wait_s:g} s"
            return
        context.cascade = run
        reason = {"strong": "cascade: surely hard", "weak": "cascade: surely easy"}.get(run.look, "cascade")
        model = models[-1] if run.look == "strong" else models[0]
        context.decision = replace(decision, model=model, reason=reason)

    def _plan_certified(self, context: RequestContext, decision: Decision, score: Callable[[float], float]) -> None:
        """The strong model while nothing is certified, and where no answer can be read; else the weak answer is."""
        reads = not context.no_cascade and (context.threshold or 0.0) > 0.0
        model = self._models[0] if reads else self._models[-1]
        if not context.no_cascade:
            look = "cascade" if reads else "strong"
            context.cascade = CascadeRun(self._models, look, context.threshold, certified=score)
        if model in decision.candidates:
            why = "cascade" if reads else f"cascade: {context.no_cascade or 'nothing is certified yet'}"
            context.decision = replace(decision, model=model, reason=why)

    def _without(self, context: RequestContext, decision: Decision, models: tuple[str, ...]) -> str:
        """Why no cascade is planned; "" where one may be."""
        if context.is_bound:
            return "the request is bound to one model"
        stream = context.request.stream or context.request.document.get("stream") is True  # of a question as well
        if stream and not self._streams:
            return "a stream is asked for, and cascade.stream is off"
        if context.rule is not None and context.rule.skips_cascade:
            return "a rule skips it"
        if len(models) < 2:
            return "fewer than two of its models may answer"
        return "" if decision.model in models else f"{decision.model} was chosen, which is not one of its models"

    def _takes_too_long(self, run: CascadeRun, seconds: tuple[float, float] | None) -> bool:
        if self._max_wait_s is None or seconds is None or run.look != "cascade":
            return False
        return seconds[0] + (run.expected_escalation or 0.0) * seconds[1] > self._max_wait_s
