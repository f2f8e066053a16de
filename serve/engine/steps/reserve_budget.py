"""Reserves the maximum cost of a request from the hard budgets, before a model is called."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pointsman.core.pair import ModelPair
from pointsman.core.policy import hard_limit
from pointsman.core.prices import Price
from pointsman.serve.engine.steps.set_threshold import refuse_for_budget
from pointsman.serve.policy.budget import Budget, Held
from pointsman.serve.policy.largest_costs import LargestCosts
from pointsman.serve.policy.rules import Policies
from pointsman.serve.request.context import RequestContext

__all__ = ["ReserveBudget", "most_usd"]

_CHARACTERS_PER_TOKEN = 3.0  # fewer than in most languages: rather too many tokens than too few
_OUTPUT_TOKENS = 4096  # of an answer whose request sets no limit, until answers have been seen
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


class ReserveBudget:
    """Sends a routed request to the weak model where a hard budget has too little left for the chosen one.

    A request that names its model is rejected instead. The weak model is never limited; a cascade checks its answer
    only if the budget allows escalation as well.
    """

    def __init__(self, policies: Policies, pair: ModelPair, prices: Mapping[str, Price]) -> None:
        self._policies = policies
        self._pair = pair
        self._prices = prices

    async def __call__(self, context: RequestContext) -> None:
        decision = context.decision
        if context.dry_run or decision is None or not context.surface.charged:
            return
        limits = self._policies.hard_limits(context.key)
        if not limits:
            return
        if decision.model != self._pair.weak:
            short_of = await self._reserve(context, limits, decision.model)
            if short_of is None:
                return
            if decision.router is None or self._pair.weak not in decision.candidates:
                refuse_for_budget(
                    f"{short_of.name} has too little left for {decision.model} until it resets: request "
                    f"{self._pair.weak} or a router"
                )
            weak, policy = self._pair.weak, hard_limit(short_of.name).policy
            context.policy = policy
            context.decision = replace(decision, model=weak, candidates=(weak,), policy=policy, reason="hard limit")
        elif context.cascade is not None and context.cascade.runs:
            last = context.cascade.models[-1]
            if await self._reserve(context, limits, last) is not None:
                context.cascade = None  # nobody could be asked after it
        usd = self._most_usd(context, self._pair.weak)
        context.held = (*context.held, *[limit.hold(usd) for limit in limits])

    async def _reserve(self, context: RequestContext, limits: tuple[Budget, ...], model: str) -> Budget | None:
        """Sets aside from every budget or from none; the budget that has too little."""
        usd = self._most_usd(context, model)
        held: list[Held] = []
        for limit in limits:
            found = await limit.reserve(usd)
            if found is None:
                for each in held:
                    each.release()
                return limit
            held.append(found)
        context.held = tuple(held)
        return None

    def _most_usd(self, context: RequestContext, model: str) -> float:
        price = self._prices.get(model)
        if price is None:
            return 0.0
        return most_usd(price, context.request.document, len(context.request.body), model, self._policies.state.largest)


def most_usd(price: Price, document: Mapping[str, Any], n_bytes: int, model: str, seen: LargestCosts) -> float:
    """The most that a request is expected to cost at a model.

    Its output is as long as it allows; where it sets no limit, as dear as the largest answer lately, by a quarter more.

    Args:
        document: the request.
        n_bytes: length of its body.
        seen: what answers of the model cost.
    """
    input_tokens = int(n_bytes / _CHARACTERS_PER_TOKEN) + 1
    limit = max(_count(document, name, 0) for name in _LIMITS)
    if limit:
        return price.cost_usd(input_tokens, limit * _count(document, "n", 1))
    largest = seen.largest_usd(model)
    if largest is None:
        return price.cost_usd(input_tokens, _OUTPUT_TOKENS)
    return max(1.25 * largest, price.cost_usd(input_tokens, 0))


def _count(document: Mapping[str, Any], name: str, default: int) -> int:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
