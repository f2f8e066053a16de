"""Losses as people see them, from many judgements and few labels (prediction-powered; Angelopoulos et al. 2023).

A judge says of every comparison what was lost, J in [-1, 1]; people say it of a few that are drawn with probability h
(B = 1 if drawn), H in [-1, 1]. Then

    Y = J + B (H - J) / h

has the mean of H whatever the judge's bias: its mean is E[J] + E[H - J]. A certificate on Y bounds what people would
say. The price is its range, |Y| <= 2 / h - 1, and its variance, which grows with how often the judge is wrong:
Var[Y] = Var[H] + (1 / h - 1) E[(H - J)^2].
"""

import math
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["Bias", "corrected_loss", "judge_bias", "labels_needed", "largest_corrected_loss"]


@dataclass(frozen=True, slots=True)
class Bias:
    """What a judge's losses are above those that people see.

    Attributes:
        mean: of J - H over the labelled comparisons; 0 without any.
        error: its standard error; infinite below two labels.
        disagreement: share of them on which J and H differ in sign.
        n_labels: labelled comparisons.
    """

    mean: float
    error: float
    disagreement: float
    n_labels: int


def corrected_loss(judged: float, labelled: float | None, label_share: float) -> float:
    """Y of one comparison.

    Args:
        judged: J.
        labelled: H where people labelled it, else None.
        label_share: h, probability of being labelled, in (0, 1].

    Raises:
        ValueError: a value leaves its range.
    """
    if not 0.0 < label_share <= 1.0:
        raise ValueError(f"label_share is {label_share}, wanted a number in (0, 1]")
    if not -1.0 <= judged <= 1.0 or not (labelled is None or -1.0 <= labelled <= 1.0):
        raise ValueError(f"losses are {judged} and {labelled}, wanted numbers in [-1, 1]")
    return judged if labelled is None else judged + (labelled - judged) / label_share


def largest_corrected_loss(label_share: float) -> float:
    """Bound of |Y|, for `Certificate(largest_loss=...)`."""
    return 2.0 / label_share - 1.0


def judge_bias(judged: FloatArray, labelled: FloatArray) -> Bias:
    """Bias of a judge on comparisons that people labelled, too, both of shape (n_labels,)."""
    n = len(judged)
    if n == 0:
        return Bias(0.0, math.inf, 0.0, 0)
    gap = np.asarray(judged, dtype=np.float64) - np.asarray(labelled, dtype=np.float64)
    error = float(gap.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Bias(float(gap.mean()), error, float((np.sign(judged) != np.sign(labelled)).mean()), n)


def labels_needed(margin: float, *, error: float, disagreement: float, largest_loss: float = 1.0) -> int | None:
    """About how many labels tell a bias from a margin: 2 ln(1 / error) E[(H - J)^2] / margin^2.

    Args:
        margin: what the mean loss, as judged, is below the bound.
        error: that may be made.
        disagreement: share of the comparisons on which judge and people differ; each difference is at most 2.
        largest_loss: by how much they differ there.

    Returns:
        At least ln(1 / error) / margin; None where the margin is not positive: no number would help.
    """
    if margin <= 0.0:
        return None
    wanted = math.log(1.0 / error)
    return math.ceil(max(2.0 * wanted * disagreement * largest_loss**2 / margin**2, wanted / margin))
