"""Generations of a router, each with its certificate, and which of them serves.

A generation is a score and a chain of thresholds on it. Generation 0 needs no labels; a later one was trained on
comparisons, and is certified by those after them. All that run see the same comparisons: a prompt is drawn with the
mean of their plans' probabilities. The one with the highest certified share serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.certificate import Certificate
from pointsman.core.comparison_plan import ComparisonPlan, make_plan

__all__ = [
    "TRAINED_AT",
    "JointPlan",
    "certified_share",
    "expected_to_pay",
    "make_joint_plan",
    "reachable_share",
    "served_generation",
]

TRAINED_AT = (300, 900, 2700, 8100)
_WORTH = 1.2
_BLOCKS = 10
_LOGIT_SPREAD = 0.2  # standard deviation of the bundled router on its calibration prompts


@dataclass(frozen=True, slots=True)
class JointPlan:
    """The plans of the generations that run, one each; a prompt is drawn with the mean of their probabilities."""

    plans: tuple[ComparisonPlan, ...]

    def probability(self, cells: Sequence[int]) -> float:
        """With which a prompt is drawn.

        Args:
            cells: of the prompt in each generation's chain.
        """
        if len(self.plans) == 1:
            return self.plans[0].probability(cells[0])
        return sum(plan.probability(cell) for plan, cell in zip(self.plans, cells, strict=True)) / len(self.plans)

    def of_rungs(self, cells: Sequence[Sequence[int]], most: int) -> list[float]:
        """Likewise of many candidates: with which each of a prompt's is drawn, see `ComparisonPlan.of_rungs`.

        Args:
            cells: of the same candidates in each generation's chain.
            most: how many candidates there are beside the reference.
        """
        each = [plan.of_rungs(own, most) for plan, own in zip(self.plans, cells, strict=True)]
        return [sum(values) / len(each) for values in zip(*each, strict=True)]

    @property
    def most(self) -> float:
        """The highest probability of any prompt."""
        return sum(plan.inside for plan in self.plans) / len(self.plans)

    def least(self, generation: int, n_steps: int) -> FloatArray:
        """No more than the least probability of what each of a generation's steps sends to the weak model."""
        others = sum(plan.outside for i, plan in enumerate(self.plans) if i != generation)
        return np.asarray((self.plans[generation].least(n_steps) + others) / len(self.plans))


def make_joint_plan(certificates: Sequence[Certificate], share: float, *, most: int = 1) -> JointPlan:
    """One plan each, of the same share; `most` candidates beside the reference."""
    return JointPlan(tuple(make_plan(certificate, share, most=most) for certificate in certificates))


def served_generation(certificates: Sequence[Certificate]) -> int:
    """Which has the highest certified share; the earlier one of equals."""
    shares = [certified_share(certificate) for certificate in certificates]
    return shares.index(max(shares))


def certified_share(certificate: Certificate) -> float:
    """Share of earlier prompts that the last open step sends to the weak model."""
    return float(certificate.chain.shares[certificate.n_open - 1]) if certificate.n_open else 0.0


def reachable_share(scores: FloatArray, losses: FloatArray, weights: FloatArray, max_loss: float) -> float:
    """Highest share of the weak model whose mean loss, as measured, is within the bound.

    Args:
        scores, losses: of compared prompts, shape (n_prompts,).
        weights: 1 / probability of each, shape (n_prompts,).
    """
    order = np.argsort(scores, kind="stable")
    total = weights.sum()
    within = np.flatnonzero(np.cumsum((losses * weights)[order]) <= max_loss * total)
    return float(np.cumsum(weights[order])[within[-1]] / total) if within.size else 0.0


def expected_to_pay(
    candidate: FloatArray, serving: FloatArray, losses: FloatArray, weights: FloatArray, max_loss: float
) -> bool:
    """Whether a candidate is worth a generation: it reaches a share a fifth higher than what serves.

    And it does so, on average, when any tenth of the comparisons is left out, by more than the spread of that.

    Args:
        candidate: its scores of the comparisons, each made without the comparison itself.
        serving: scores of what serves.
        losses, weights: as of `reachable_share`; all of shape (n_prompts,).
    """
    gains = []
    block = np.arange(len(losses)) % _BLOCKS
    for left_out in range(_BLOCKS):
        kept = block != left_out
        reached = [reachable_share(s[kept], losses[kept], weights[kept], max_loss) for s in (candidate, serving)]
        gains.append(reached[0] - _WORTH * reached[1])
    spread = np.sqrt((_BLOCKS - 1) * np.var(gains))  # jackknife
    return bool(np.mean(gains) > spread)


def first_score(win_rates: FloatArray, n_characters: FloatArray) -> FloatArray:
    """Score of generation 0, which has seen no label of this traffic: a router's win rate and the prompt's length.

    logit(win_rate) / 0.2 + ln(1 + n_characters), the terms in units of what they differ by between prompts. Length says
    about as much of how hard a prompt is as a router that was trained on other traffic, and something else.

    Args:
        win_rates: in [0, 1], shape (n_prompts,).
        n_characters: of each prompt, shape (n_prompts,).
    """
    rates = np.clip(win_rates, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(rates / (1.0 - rates)) / _LOGIT_SPREAD + np.log1p(n_characters))
