"""The cascade of an engine: its plan, its verifiers and its escalation, made from the configuration."""

from collections.abc import Mapping, Sequence

from prometheus_client import Counter

from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.serve.config import Config
from pointsman.serve.config.cascade import CascadeConfig
from pointsman.serve.engine.escalate import Escalation
from pointsman.serve.engine.paid_signals import Checker, PaidSignals
from pointsman.serve.engine.second_look import SecondLook
from pointsman.serve.engine.served_verifier import serve_verifiers
from pointsman.serve.engine.steps.plan_cascade import PlanCascade
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.request.cascade_run import CascadeRun
from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.attempts import Answered, Failover
from pointsman.serve.upstreams.base import Call

__all__ = ["Cascade"]


class Cascade:
    """The cascade that the configuration describes.

    Attributes:
        plan: the pipeline's step.
        second_look: scores answers, where the autopilot certifies the threshold.
    """

    def __init__(
        self,
        config: Config,
        cascade: CascadeConfig,
        pair: ModelPair,
        *,
        routers: Mapping[str, ServedRouter],
        prices: Mapping[str, Price],
        failover: Failover,
        refused_logprobs: set[str],
        unchecked: Counter,
    ) -> None:
        """Loads the verifiers and finds the checker.

        Args:
            refused_logprobs: models that rejected requests for log-probabilities; this adds to it.
            unchecked: counts answers that the checker did not check.

        Raises:
            ConfigError, CheckpointError, EmbedderMismatchError: see `serve_verifiers` and `Checker`.
        """
        models = tuple(cascade.models or (pair.weak, pair.strong))
        self._verifiers = serve_verifiers(config, routers, models, prices)
        checker = None
        if cascade.checker is not None:
            checker = Checker(cascade.checker, absent=unchecked)
        self._checker = checker
        self.second_look = SecondLook(cascade, self._verifiers.get(models[0]), checker)
        self._escalation = Escalation(
            cascade,
            self._verifiers,
            failover,
            PaidSignals(cascade, failover, checker=checker),
            second_look=self.second_look,
            refused_logprobs=refused_logprobs,
        )
        self.plan = PlanCascade(cascade, models, self._verifiers)

    async def answer(self, context: RequestContext, run: CascadeRun, call: Call, candidates: Sequence[str]) -> Answered:
        """See `Escalation.answer`."""
        return await self._escalation.answer(context, run, call, candidates)

    async def close(self) -> None:
        """Releases threads and connections."""
        for verifier in self._verifiers.values():
            verifier.close()
        if self._checker is not None:
            await self._checker.close()
