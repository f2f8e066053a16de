"""Sets the threshold according to the policies."""

from collections.abc import Sequence
from typing import NoReturn

from pointsman.core.pair import ModelPair
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.rules import Policies
from pointsman.serve.request.context import RequestContext

__all__ = ["SetThreshold", "refuse_for_budget"]


class SetThreshold:
    """Asks the policies for the threshold. An exhausted hard limit leaves the cheapest model as the only candidate."""

    def __init__(self, policies: Policies, pair: ModelPair, candidates: Sequence[str]) -> None:
        """Takes the policies, the reference and the cheapest model, and all candidates in their order."""
        self._policies = policies
        self._pair = pair
        self._candidates = tuple(candidates)

    def __call__(self, context: RequestContext) -> None:
        context.pair, context.candidates = self._pair, self._candidates
        field = context.parsed
        if field is None or field.router is None:
            self._check_hard_limit(context)
            return
        context.ruled = ruled = self._policies.rule(field, context.key)
        context.threshold, context.policy = ruled.ruling.threshold, ruled.ruling.policy
        if ruled.exhausted and context.surface.charged:
            context.candidates = (self._pair.weak,)

    def _check_hard_limit(self, context: RequestContext) -> None:
        model = context.parsed.model if context.parsed is not None and context.surface.charged else None
        if model not in (None, self._pair.weak) and (limit := self._policies.exhausted_limit(context.key)):
            refuse_for_budget(f"{limit} is exhausted until it resets: request {self._pair.weak} or a router")


def refuse_for_budget(problem: str) -> NoReturn:
    """Raises the `RequestError` of a request that a hard limit does not let through."""
    raise RequestError(problem, status=429, type="insufficient_quota", code="budget_spent")
