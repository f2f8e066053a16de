"""Which models may answer a request: the chosen one, then those that take over if it fails."""

from typing import Literal

from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair

__all__ = ["who_answers"]


def who_answers(
    decision: Decision, pair: ModelPair, fallback: Literal["to_strong", "both", "none"], *, is_bound: bool
) -> list[str]:
    """The chosen model and its fallbacks, in order.

    Args:
        fallback: as configured: from the weak model to the strong one, between both, or not at all.
        is_bound: only the chosen model can answer: it produced what the request refers to.
    """
    chosen = decision.model
    if is_bound or fallback == "none":
        return [chosen]
    if decision.weighed:  # among any number of candidates
        return [chosen, *(name for name in decision.candidates if name != chosen)]
    other = {pair.weak: pair.strong}
    if fallback == "both":
        other[pair.strong] = pair.weak
    if decision.router is None or chosen not in other:
        return [chosen]
    return [model for model in (chosen, other[chosen]) if model in decision.candidates]
