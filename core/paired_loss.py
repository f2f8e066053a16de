"""Mean loss of one model against another on the same prompts, with an interval that is honest on few of them.

Each pair gives a loss x in [-1, 1]: the reference's score less the other's. Of few pairs that all agree, the usual
interval has no width; so one pair of loss 1 and one of loss -1 are added to it (Bonett and Price 2012, for differences
of paired proportions; with weights, to the effective number of pairs n = (sum w)² / sum w²):

    m = n mean(x) / (n + 2),   v = (n mean(x²) + 2) / (n + 2) - m²,   m ± z sqrt(v / (n + 2))

The value itself is the weighted mean without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

__all__ = ["PairedLoss", "paired_loss"]


@dataclass(frozen=True, slots=True)
class PairedLoss:
    """An estimated mean loss.

    Attributes:
        value: in [-1, 1]; positive where the reference is better.
        low, high: ends of its interval, low <= value <= high.
        n_pairs: that it rests on.
    """

    value: float
    low: float
    high: float
    n_pairs: int


def paired_loss(
    losses: Sequence[float], weights: Sequence[float] | None = None, *, confidence: float = 0.95
) -> PairedLoss | None:
    """Mean loss and its interval; None without pairs.

    Args:
        losses: in [-1, 1], shape (n_pairs,).
        weights: 1 / probability of having been drawn, shape (n_pairs,); all alike if None.

    Raises:
        ValueError: a loss leaves [-1, 1], or a weight is not positive.
    """
    x = np.asarray(losses, dtype=np.float64)
    w = np.ones(x.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.shape != w.shape or not (np.abs(x) <= 1.0).all() or not (w > 0.0).all():
        raise ValueError("wanted losses in [-1, 1], each with a weight above 0")
    if not x.size:
        return None
    n, mean = w.sum() ** 2 / (w**2).sum(), np.average(x, weights=w)
    middle = n * mean / (n + 2.0)
    variance = (n * np.average(x**2, weights=w) + 2.0) / (n + 2.0) - middle**2
    half = NormalDist().inv_cdf(0.5 + confidence / 2.0) * np.sqrt(variance / (n + 2.0))
    low, high = min(mean, max(middle - half, -1.0)), max(mean, min(middle + half, 1.0))
    return PairedLoss(float(mean), float(low), float(high), x.size)
