"""How good a router is on stored outcomes: quality against the share of prompts that go to the strong model.

    PGR(share)  = (quality(share) - weak) / (strong - weak)      performance gap recovered
    APGR        = area under PGR over all shares                 random order: 0.5 in expectation
    CPT(x)      = least share whose PGR is at least x            call-performance threshold

(Ong et al. 2024, section 3.2.) Quality is exact at every share, not sampled at a few thresholds. Where strong is not
better than weak on average there is no gap to recover: PGR, APGR and CPT are then None.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray

__all__ = [
    "ROUNDING",
    "QualityCurve",
    "Ranking",
    "apgr",
    "auc",
    "check_outcomes",
    "cpt",
    "deciles",
    "gap",
    "pgr",
    "quality_at",
    "quality_curve",
    "rank",
    "share_for_quality",
]

ROUNDING = 1e-10  # relative; running sums of floats are equal if they differ by no more


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Order in which prompts go to the strong model.

    Attributes:
        order: prompts by falling win rate, shape (n_prompts,).
        starts: positions in `order` where a new win rate begins, shape (n_ties,).
    """

    order: IntArray
    starts: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class QualityCurve:
    """Expected quality at every strong share.

    Prompts go to the strong model by falling win rate, tied ones in random order: between the ends of a tie the
    expectation is a straight line, and so is the curve between its points.

    Attributes:
        share: strong shares, 0 first and 1 last, increasing, shape (n_points,).
        quality: expected mean score at each share, shape (n_points,).
    """

    share: FloatArray
    quality: FloatArray

    @property
    def weak(self) -> float:
        """Mean score of the weak model."""
        return float(self.quality[0])

    @property
    def strong(self) -> float:
        """Mean score of the strong model."""
        return float(self.quality[-1])


def rank(win_rates: FloatArray) -> Ranking:
    """Prompts by falling win rate; any numbers that order prompts will do.

    Args:
        win_rates: finite, shape (n_prompts,), at least one.

    Raises:
        ValueError: the shape is another, or a value is NaN or infinite.
    """
    rates = np.asarray(win_rates, dtype=np.float64)
    if rates.ndim != 1 or not rates.size:
        raise ValueError(f"win_rates have shape {rates.shape}, wanted (n_prompts,) with at least one prompt")
    _check_finite("win_rates", rates)
    order = np.argsort(-rates, kind="stable")
    starts = np.flatnonzero(np.diff(rates[order], prepend=np.inf))
    return Ranking(order, starts)


def check_outcomes(strong: FloatArray, weak: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Scores of both models as float64.

    Raises:
        ValueError: shapes are not one and the same (n_prompts,), or a score is NaN or infinite.
    """
    strong, weak = np.asarray(strong, dtype=np.float64), np.asarray(weak, dtype=np.float64)
    if strong.ndim != 1 or strong.shape != weak.shape or not strong.size:
        raise ValueError(
            f"strong and weak have shapes {strong.shape} and {weak.shape}, wanted one (n_prompts,) for both"
        )
    _check_finite("strong", strong)
    _check_finite("weak", weak)
    return strong, weak


def quality_curve(win_rates: FloatArray, strong: FloatArray, weak: FloatArray) -> QualityCurve:
    """The curve of a router on prompts with known outcomes. With costs in place of scores it is the cost curve.

    Args:
        win_rates: finite, shape (n_prompts,); only their order counts.
        strong, weak: score of each model on each prompt, finite, any scale, shape (n_prompts,).

    Raises:
        ValueError: shapes differ, there is no prompt, or a value is not finite.
    """
    strong, weak = check_outcomes(strong, weak)
    ranking = rank(win_rates)
    if ranking.order.size != strong.size:
        raise ValueError(f"{ranking.order.size} win rates for {strong.size} outcomes, wanted one per prompt")
    n = strong.size
    gain = np.add.reduceat((strong - weak)[ranking.order], ranking.starts)
    share = np.append(ranking.starts, n) / n
    quality = weak.mean() + np.concatenate(([0.0], np.cumsum(gain))) / n
    return QualityCurve(share, quality)


def gap(curve: QualityCurve) -> float | None:
    """Mean score of strong minus that of weak; None where strong is not better."""
    difference = curve.strong - curve.weak
    return difference if difference > ROUNDING * max(abs(curve.strong), abs(curve.weak)) else None


def quality_at(curve: QualityCurve, share: float) -> float:
    """Expected quality at a strong share in [0, 1].

    Raises:
        ValueError: `share` leaves [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}, wanted a number in [0, 1]")
    return float(np.interp(share, curve.share, curve.quality))


def pgr(curve: QualityCurve, share: float) -> float | None:
    """Performance gap recovered at a strong share; None without a gap."""
    difference = gap(curve)
    return None if difference is None else (quality_at(curve, share) - curve.weak) / difference


def auc(curve: QualityCurve) -> float:
    """Area under quality over strong share: the mean quality over all shares."""
    heights = (curve.quality[1:] + curve.quality[:-1]) / 2.0  # np.trapezoid came with NumPy 2.0
    return float(heights @ np.diff(curve.share))


def apgr(curve: QualityCurve) -> float | None:
    """Average performance gap recovered; None without a gap."""
    difference = gap(curve)
    return None if difference is None else (auc(curve) - curve.weak) / difference


def cpt(curve: QualityCurve, recovered: float) -> float | None:
    """Least strong share that recovers the part `recovered` of the gap; None without a gap.

    Raises:
        ValueError: `recovered` is not in (0, 1].
    """
    if not 0.0 < recovered <= 1.0:
        raise ValueError(f"recovered is {recovered}, wanted a number in (0, 1]")
    difference = gap(curve)
    return (
        None if difference is None else share_for_quality(curve, min(curve.weak + recovered * difference, curve.strong))
    )


def share_for_quality(curve: QualityCurve, quality: float) -> float | None:
    """Least strong share whose expected quality is at least `quality`; None where the curve stays below it."""
    reached = curve.quality >= quality - ROUNDING * np.ptp(curve.quality)
    if not reached.any():
        return None
    k = int(reached.argmax())
    if k == 0:
        return 0.0
    before, after = curve.quality[k - 1], curve.quality[k]
    part = min(1.0, (quality - before) / (after - before))
    return float(curve.share[k - 1] + part * (curve.share[k] - curve.share[k - 1]))


def deciles(curve: QualityCurve) -> QualityCurve:
    """The curve through its values at shares 0, 0.1, ..., 1: the 11 points that the literature reports."""
    share = np.linspace(0.0, 1.0, 11)
    return QualityCurve(share, np.interp(share, curve.share, curve.quality))


def _check_finite(name: str, values: FloatArray) -> None:
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{name}[{row}] is {values[row]}, wanted a finite number")
