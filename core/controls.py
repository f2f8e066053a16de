"""Controls that tell what a router's quality comes from: chance, recognising the group, or judging difficulty.

A router that sends a whole data set to the strong model because strong models are better at it has recognised the data
set; to judge difficulty is to order the prompts inside one. With A the average performance gap recovered,

    recognised = A with every prompt's gain replaced by the mean gain of its group
    A - recognised = what is judged inside groups

`recognised` is exactly the mean of A over all shuffles of the outcomes within groups.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.metrics import QualityCurve, apgr, check_outcomes, quality_curve, rank

__all__ = ["Spread", "oracle_curve", "random_apgr", "random_band", "shuffled_apgr", "within_group_curve"]

_N_SHARES = 1001


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a figure over random shuffles."""

    mean: float
    deviation: float


def oracle_curve(strong: FloatArray, weak: FloatArray) -> QualityCurve:
    """The best possible curve: prompts ordered by the strong model's gain."""
    strong, weak = check_outcomes(strong, weak)
    return quality_curve(strong - weak, strong, weak)


def random_apgr(strong: FloatArray, weak: FloatArray) -> Spread | None:
    """APGR of prompts in random order: mean 0.5, exact deviation; None without a gap."""
    n = np.size(strong)
    return shuffled_apgr(np.arange(n, dtype=np.float64), strong, weak, np.zeros(n, dtype=np.int64))


def random_band(strong: FloatArray, weak: FloatArray, share: FloatArray) -> FloatArray:
    """Standard deviation of the quality that a random choice of prompts reaches, shape of `share`.

    Mean gain of k out of n prompts drawn without replacement, times k / n: s (1 - s) / (n - 1) x variance of the gain.
    """
    strong, weak = check_outcomes(strong, weak)
    return np.asarray(np.sqrt(share * (1.0 - share) / max(strong.size - 1, 1)) * np.std(strong - weak))


def shuffled_apgr(win_rates: FloatArray, strong: FloatArray, weak: FloatArray, group: IntArray) -> Spread | None:
    """APGR of a router after the outcomes were shuffled within groups: exact mean and deviation; None without a gap.

    APGR is linear in the gains, sum_i c_i gain_i, so a shuffle within a group of size m has mean m c_mean gain_mean and
    variance sum (c - c_mean)^2 sum (gain - gain_mean)^2 / (m - 1).

    Args:
        group: number of each prompt's group, shape (n_prompts,).

    Raises:
        ValueError: shapes differ, or a value is not finite.
    """
    strong, weak = check_outcomes(strong, weak)
    if np.shape(group) != strong.shape:
        raise ValueError(f"group has shape {np.shape(group)}, wanted {strong.shape}")
    total = float((strong - weak).sum())
    if apgr(quality_curve(win_rates, strong, weak)) is None:
        return None
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    weight, gain = _area_weights(win_rates), strong - weak

    def centred(values: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean = np.bincount(inverse, weights=values) / counts
        return mean, np.asarray(np.bincount(inverse, weights=(values - mean[inverse]) ** 2))

    (weight_mean, weight_square), (gain_mean, gain_square) = centred(weight), centred(gain)
    variance = (weight_square * gain_square / np.maximum(counts - 1, 1)).sum()
    return Spread(float(counts @ (weight_mean * gain_mean)) / total, float(np.sqrt(variance)) / total)


def within_group_curve(win_rates: FloatArray, strong: FloatArray, weak: FloatArray, group: IntArray) -> QualityCurve:
    """Quality where every group sends the same share of its own prompts to the strong model."""
    strong, weak = check_outcomes(strong, weak)
    share = np.linspace(0.0, 1.0, _N_SHARES)
    quality = np.zeros(_N_SHARES)
    rates = np.asarray(win_rates, dtype=np.float64)
    for name in np.unique(group):
        members = group == name
        curve = quality_curve(rates[members], strong[members], weak[members])
        quality += members.mean() * np.interp(share, curve.share, curve.quality)
    return QualityCurve(share, quality)


def _area_weights(win_rates: FloatArray) -> FloatArray:
    """What a prompt's gain counts in the area under the curve: 1 - (middle rank of its tie) / n."""
    ranking = rank(win_rates)
    n = ranking.order.size
    ends = np.append(ranking.starts[1:], n)
    weights = np.empty(n)
    weights[ranking.order] = np.repeat(1.0 - (ranking.starts + ends) / (2.0 * n), ends - ranking.starts)
    return weights
