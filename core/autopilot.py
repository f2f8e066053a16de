"""Generations of a router, each with its certificate, and which of them serves.

A generation is a score and a chain of thresholds on it. Generation 0 needs no labels; a later one was trained on
comparisons, and is certified by those after them. All that run see the same comparisons: a prompt is drawn with the
mean of their plans' probabilities. The one with the highest certified share serves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.certificate import Certificate
from pointsman.core.comparison_plan import ComparisonPlan, make_plan

__all__ = [
    "TRAINED_AT",
    "JointPlan",
    "Policies",
    "certified_share",
    "expected_to_pay",
    "make_joint_plan",
    "reachable_saving",
    "served_generation",
]

TRAINED_AT = (300, 900, 2700, 8100)
_BOUNDS = (0.4, 0.6, 0.8, 1.0, 1.25, 1.5)  # times max_loss
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

    def of_rungs(self, cells: Sequence[Mapping[int, int]], most: int) -> dict[int, float]:
        """Likewise of many candidates: with which each of a prompt's is drawn, see `ComparisonPlan.of_rungs`.

        Args:
            cells: in each generation's chain, by candidate; of those that the chain ever chooses.
            most: how many candidates there are beside the reference.
        """
        found = dict.fromkeys([candidate for own in cells for candidate in own], 0.0)
        for plan, own in zip(self.plans, cells, strict=True):
            for candidate, probability in zip(own, plan.of_rungs(list(own.values()), most), strict=True):
                found[candidate] += probability / len(self.plans)
        return found

    @property
    def most(self) -> float:
        """The highest probability of any prompt."""
        return sum(plan.inside for plan in self.plans) / len(self.plans)

    def least(self, generation: int, n_steps: int, *, many: bool = False) -> FloatArray:
        """No more than the least probability of what each of a generation's steps sends to the weak model.

        Args:
            many: of more than two candidates, of whom another generation may never choose the one that this one does.
        """
        others = 0.0 if many else sum(plan.outside for i, plan in enumerate(self.plans) if i != generation)
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


@dataclass(frozen=True, slots=True, eq=False)
class Policies:
    """At which thresholds the compared model is chosen, of each comparison; shape (n_comparisons,).

    Attributes:
        since: it is chosen above this: the score.
        until: of many candidates, up to this, see `core.ladder`; infinite, or None for a pair, where it stays chosen.
    """

    since: FloatArray
    until: FloatArray | None = None


def reachable_saving(
    policies: Policies, losses: FloatArray, weights: FloatArray, gains: FloatArray, *, max_loss: float, n: float
) -> float:
    """Highest saving of a threshold whose mean loss, as measured, is within the bound; of a pair the weak share.

    Args:
        losses: of the comparisons, shape (n_comparisons,).
        weights: 1 / probability of each.
        gains: what the compared model saves, 1 the most.
        n: requests among which these were drawn.
    """
    ends = np.full(len(losses), np.inf) if policies.until is None else policies.until
    at = np.concatenate([policies.since, ends])
    order = np.argsort(at, kind="stable")
    last = at[order] < np.append(at[order][1:], np.inf)  # of equal thresholds

    def summed(values: FloatArray) -> FloatArray:
        return np.asarray(np.cumsum(np.concatenate([values, -values])[order])[last])

    within = summed(losses * weights) <= max_loss * n
    return float(summed(gains * weights)[within].max(initial=0.0) / n)


def expected_to_pay(
    candidate: Policies,
    serving: Policies,
    losses: FloatArray,
    weights: FloatArray,
    *,
    max_loss: float,
    gains: FloatArray | None = None,
    n: float | None = None,
) -> bool:
    """Whether a candidate is worth a generation: it reaches more than what serves, by more than the jackknife's spread.

    What is reached is averaged over bounds around `max_loss`: where a few hundred losses cross one of them is mostly
    luck. The rule may be any: it decides what is tried, and only later comparisons certify it.

    Args:
        candidate: those of its scores, each made without the comparison itself.
        serving: those of what serves.
        losses, weights, gains, n: as of `reachable_saving`; without the last two all gains are 1, and the requests as
            many as the weights say.
    """
    worth = np.ones(len(losses)) if gains is None else gains
    total = float(weights.sum()) if n is None else n

    def reached(policies: Policies, kept: FloatArray) -> float:
        until = None if policies.until is None else policies.until[kept]
        among = total * float(weights[kept].sum() / weights.sum())
        of_kept = Policies(policies.since[kept], until), losses[kept], weights[kept], worth[kept]
        return float(np.mean([reachable_saving(*of_kept, max_loss=max_loss * times, n=among) for times in _BOUNDS]))

    gains_of = []
    block = np.arange(len(losses)) % _BLOCKS
    for left_out in range(_BLOCKS):
        kept = block != left_out
        gains_of.append(reached(candidate, kept) - reached(serving, kept))
    spread = np.sqrt((_BLOCKS - 1) * np.var(gains_of))  # jackknife
    return bool(np.mean(gains_of) > spread)


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
