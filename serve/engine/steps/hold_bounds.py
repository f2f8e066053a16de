"""Applies shares, budgets and bounds to decisions that were not made by win rate."""

from dataclasses import replace

from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair
from pointsman.serve.policy.rules import Policies
from pointsman.serve.request.context import RequestContext

__all__ = ["HoldBounds"]


class HoldBounds:
    """The final check of every routed decision, whatever its reason.

    A win rate at or above the threshold has passed the policies already. A prompt without text, a router that failed, a
    sticky conversation or tool loop, and a drift alarm have not: they get a more expensive model only while the shares,
    budgets and bounds of the policies allow it, and the cheapest candidate otherwise.
    """

    def __init__(self, policies: Policies, pair: ModelPair) -> None:
        self._policies = policies
        self._pair = pair

    def __call__(self, context: RequestContext) -> None:
        decision, ruled = context.decision, context.ruled
        if decision is None or ruled is None or decision.router is None or _earned(decision):
            return
        cheapest = self._cheapest(decision)
        if decision.model == cheapest or (policy := self._policies.refusal(ruled, decision.router)) is None:
            return
        context.policy = policy
        context.decision = replace(decision, model=cheapest, policy=policy, reason=f"bounds, not {decision.reason}")

    def _cheapest(self, decision: Decision) -> str:
        """The cheapest candidate that may answer; the chosen one if the weak one may not."""
        if decision.weighed:
            return min(decision.weighed, key=lambda each: each.relative_bill).candidate.name
        return self._pair.weak if self._pair.weak in decision.candidates else decision.model


def _earned(decision: Decision) -> bool:
    if decision.weighed:
        return decision.reason == "win_rate"
    return decision.win_rate is not None and decision.threshold is not None and decision.win_rate >= decision.threshold
