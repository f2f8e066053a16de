"""Reserves the maximum cost of a request from the hard budgets, before a model is called."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pointsman.core.pair import ModelPair
from pointsman.core.policy import hard_limit
from pointsman.core.prices import Price
from pointsman.serve.config import ModelConfig
from pointsman.serve.engine.steps.set_threshold import refuse_for_budget
from pointsman.serve.policy.budget import Budget
from pointsman.serve.policy.rules import Policies
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.token_count import count_image_tokens
from pointsman.serve.request.context import RequestContext

__all__ = ["ReserveBudget", "most_input_tokens", "most_usd"]

_BYTES_PER_TOKEN = 3.0  # of ASCII, fewer than in most texts: rather too many tokens than too few
_OUTPUT_TOKENS = 4096  # of an answer whose request sets no limit, until answers have been seen
_LIMITS = {
    "/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/responses": ("max_output_tokens",),
    "/messages": ("max_tokens",),
}
_ANSWERS = ("n", "best_of")
_MAX_DIGITS = 20
_MOST = 1e12
_ASCII = bytes(range(128))


class ReserveBudget:
    """Sends a routed request to the weak model where a hard budget has too little left for the chosen one.

    A request that names its model is rejected instead. The weak model is never limited; a cascade checks its answer
    only if the budget allows escalation as well.
    """

    def __init__(
        self, policies: Policies, pair: ModelPair, prices: Mapping[str, Price], models: Mapping[str, ModelConfig]
    ) -> None:
        self._policies = policies
        self._pair = pair
        self._prices = prices
        self._models = models

    async def __call__(self, context: RequestContext) -> None:
        decision = context.decision
        if context.dry_run or decision is None or not context.surface.charged:
            return
        limits = self._policies.hard_limits(context.key)
        if not limits:
            return
        request = context.request
        tokens = await off_loop(len(request.body), most_input_tokens, request.document, request.body)
        if decision.model != self._pair.weak:
            short_of = await self._reserve(context, limits, tokens, decision.model)
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
            if await self._reserve(context, limits, tokens, last) is not None:
                context.cascade = None  # nobody could be asked after it
        usd = self._most_usd(context, tokens, self._pair.weak)
        context.held = (*context.held, *[limit.hold(usd) for limit in limits])

    async def _reserve(
        self, context: RequestContext, limits: tuple[Budget, ...], tokens: int, model: str
    ) -> Budget | None:
        """Sets aside from every budget or from none; the budget that has too little."""
        usd = self._most_usd(context, tokens, model)
        for limit in limits:
            found = await limit.reserve(usd)
            if found is None:
                for each in context.held:
                    each.release()
                context.held = ()
                return limit
            context.held = (*context.held, found)  # at once: the client may leave while the next is asked
        return None

    def _most_usd(self, context: RequestContext, tokens: int, model: str) -> float:
        price = self._prices.get(model)
        if price is None:
            return 0.0
        told, own = dict(context.request.document), self._models.get(model)
        if own is not None and own.parameters:
            told = {**told, **own.parameters} if own.override else {**own.parameters, **told}
        seen = self._policies.state.largest.largest_usd(model)
        return most_usd(price, told, tokens, path=context.surface.path, largest_usd=seen)


def most_usd(
    price: Price, document: Mapping[str, Any], input_tokens: int, *, path: str, largest_usd: float | None = None
) -> float:
    """The most that a request is expected to cost at a model.

    Its answers are as long as it allows on its API; where it sets no limit, as dear as the largest one lately, by a
    quarter more.

    Args:
        document: the request, with the model's own parameters.
        input_tokens: at most.
        path: of the API.
        largest_usd: what the largest answer of the model cost lately; None before there were enough.
    """
    n_answers = max(1, *(_count(document, name) for name in _ANSWERS))
    if limit := max((_count(document, name) for name in _LIMITS.get(path, ())), default=0):
        return price.cost_usd(input_tokens, limit * n_answers)
    if largest_usd is None:
        return price.cost_usd(input_tokens, _OUTPUT_TOKENS * n_answers)
    return max(1.25 * n_answers * largest_usd, price.cost_usd(input_tokens, 0))


def most_input_tokens(document: Mapping[str, Any], body: bytes) -> int:
    """Tokens of a request: one for three bytes of ASCII, one for each byte of other characters, and its images'."""
    n_others = 0 if body.isascii() else len(body.translate(None, _ASCII))
    return int((len(body) - n_others) / _BYTES_PER_TOKEN) + 1 + n_others + count_image_tokens(document)


def _count(document: Mapping[str, Any], name: str) -> int:
    """A number in a request, as the most lenient service reads it; 0 if it is not a number."""
    value = document.get(name)
    if isinstance(value, str) and len(value) < _MAX_DIGITS:
        with suppress(ValueError):
            value = float(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return 0
    return math.ceil(min(value, _MOST)) if value > 0 else 0
