"""Separates recognising the group of a prompt from judging its difficulty."""

import math
from dataclasses import dataclass

import numpy as np

from pointsman.backends.evaluation.outcome_pairs import PairOutcomes
from pointsman.core.arrays import FloatArray
from pointsman.core.controls import shuffled_apgr, within_group_curve
from pointsman.core.metrics import apgr, quality_curve

__all__ = ["Groups", "group_figures"]

_MIN_GROUP = 20


@dataclass(frozen=True, slots=True)
class Groups:
    """The sources of a router's APGR.

    Attributes:
        recognised: APGR that is left when outcomes are shuffled within groups: what knowing the group is worth.
        judged: APGR minus `recognised`: what is judged inside groups.
        p_value: two-sided, that shuffling within groups would give a `judged` as far from 0.
        within: APGR where every group sends the same share of its prompts to the strong model.
        by_group: number of prompts and APGR of each group (None without a gap, or with fewer than 20 prompts).
        without_group: APGR on all prompts but those of one group.
    """

    recognised: float
    judged: float
    p_value: float
    within: float | None
    by_group: dict[str, dict[str, float | None]]
    without_group: dict[str, float | None]


def group_figures(rates: FloatArray, outcomes: PairOutcomes) -> Groups | None:
    """The figures by group; None without groups, with a single one, or without a gap between the models.

    Args:
        rates: win rates, shape (n_prompts,).
    """
    if outcomes.group is None:
        return None
    strong, weak = outcomes.strong, outcomes.weak
    names, number = np.unique(outcomes.group, return_inverse=True)
    whole, shuffled = apgr(quality_curve(rates, strong, weak)), shuffled_apgr(rates, strong, weak, number)
    if whole is None or shuffled is None or names.size < 2:
        return None
    by_group: dict[str, dict[str, float | None]] = {}
    without: dict[str, float | None] = {}
    for k, name in enumerate(names.tolist()):
        rows = number == k
        n = int(rows.sum())
        curve = quality_curve(rates[rows], strong[rows], weak[rows])
        by_group[name] = {"n_prompts": n, "apgr": apgr(curve) if n >= _MIN_GROUP else None}
        without[name] = apgr(quality_curve(rates[~rows], strong[~rows], weak[~rows]))
    judged = whole - shuffled.mean
    return Groups(
        recognised=shuffled.mean,
        judged=judged,
        p_value=math.erfc(abs(judged) / shuffled.deviation / math.sqrt(2.0)) if shuffled.deviation > 0 else 1.0,
        within=apgr(within_group_curve(rates, strong, weak, number)),
        by_group=by_group,
        without_group=without,
    )
