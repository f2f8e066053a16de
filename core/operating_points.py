"""The results of every threshold: share of strong calls, quality and dollars, each with its standard error.

Prompt i goes to the strong model iff win_rate_i >= t. With s_i, w_i the models' scores, d_i = s_i - w_i, and z_i = 1
where it goes to the strong model, else 0:

    share(t)     = mean(z)
    quality(t)   = mean(w + z d)
    retained(t)  = quality(t) / mean(s)
    recovered(t) = mean(z d) / mean(d)                      performance gap recovered
    usd(t)       = 1000 mean(cost), saving(t) = 1 - usd(t) / usd(0)

The standard error of a mean is its deviation over the root of n; that of a ratio r = mean(a) / mean(b) is
sqrt(mean((a - r b)^2) / n) / |mean(b)| (delta method).
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.metrics import check_outcomes, gap, quality_curve, rank

__all__ = ["Figure", "OperatingPoints", "grid_thresholds", "labelled_points", "operating_points"]

_STEPS = 1000
_QUANTILES = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One figure at every threshold.

    Attributes:
        value: shape (n_thresholds,).
        error: its standard error, shape (n_thresholds,).
    """

    value: FloatArray
    error: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoints:
    """Figures by threshold; None where they cannot be said.

    Attributes:
        threshold: increasing, in [0, 1], shape (n_thresholds,).
        share: of strong calls.
        quality: mean score.
        retained: quality as a part of the strong model's; None where that is not positive.
        recovered: part of the gap between the models; None without a gap.
        usd: dollars of a thousand prompts; None where costs are not known.
        saving: part of the strong model's dollars that is saved.
    """

    threshold: FloatArray
    share: Figure
    quality: Figure
    retained: Figure | None
    recovered: Figure | None
    usd: Figure | None
    saving: Figure | None

    def columns(self, *, decimals: int = 6) -> dict[str, list[float]]:
        """The figures that are known, and their errors as `<name>_error`, as rounded JSON-ready lists."""
        found = {"threshold": np.round(self.threshold, decimals).tolist()}
        for name in ("share", "quality", "retained", "recovered", "usd", "saving"):
            figure: Figure | None = getattr(self, name)
            if figure is not None:
                found[name] = np.round(figure.value, decimals).tolist()
                found[f"{name}_error"] = np.round(figure.error, decimals).tolist()
        return found


def grid_thresholds(win_rates: FloatArray) -> FloatArray:
    """Thresholds worth looking at: 0, 1, every 0.001 from the lowest to the highest win rate, and the percentiles.

    Percentiles are rounded to four decimals. What holds at a threshold holds down to the one before it where both are
    outside the win rates.

    Args:
        win_rates: in [0, 1], shape (n_prompts,), at least one.
    """
    low, high = np.floor(win_rates.min() * _STEPS), np.ceil(win_rates.max() * _STEPS)
    grid = np.arange(low, min(high + 1.0, _STEPS) + 1.0) / _STEPS
    return np.unique(np.round(np.concatenate(([0.0, 1.0], grid, np.quantile(win_rates, _QUANTILES))), 4))


def labelled_points(win_rates: FloatArray, strong: FloatArray, weak: FloatArray) -> dict[str, list[float]]:
    """The figures at the percentiles of the win rates, to keep in a checkpoint; see `operating_points`."""
    quantiles = np.quantile(win_rates, _QUANTILES)
    thresholds: FloatArray = np.unique(np.round(np.concatenate(([0.0, 1.0], quantiles)).astype(np.float64), 4))
    return operating_points(win_rates, strong, weak, thresholds=thresholds).columns(decimals=4)


def operating_points(
    win_rates: FloatArray,
    strong: FloatArray,
    weak: FloatArray,
    *,
    thresholds: FloatArray | None = None,
    usd: tuple[FloatArray, FloatArray] | None = None,
) -> OperatingPoints:
    """Figures of a router at thresholds, on prompts with known outcomes.

    Args:
        win_rates: in [0, 1], shape (n_prompts,).
        strong, weak: score of each model on each prompt, shape (n_prompts,).
        thresholds: increasing, shape (n_thresholds,); those of `grid_thresholds` if None.
        usd: dollars of each prompt with the strong and the weak model, shape (n_prompts,) each.

    Raises:
        ValueError: shapes differ, there is no prompt, or a value is not finite.
    """
    strong, weak = check_outcomes(strong, weak)
    curve = quality_curve(win_rates, strong, weak)
    order = rank(win_rates).order
    rates = np.asarray(win_rates, dtype=np.float64)
    wanted = grid_thresholds(rates) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    counts = np.searchsorted(-rates[order], -wanted, side="right")
    share = counts / rates.size
    quality, retained = _mixtures(strong, weak, order, counts)
    costs = None if usd is None else _mixtures(1000.0 * usd[0], 1000.0 * usd[1], order, counts)
    spent = None if costs is None else costs[1]
    return OperatingPoints(
        threshold=wanted,
        share=Figure(share, np.sqrt(share * (1.0 - share) / rates.size)),
        quality=quality,
        retained=retained,
        recovered=None if gap(curve) is None else _ratio(strong - weak, order, counts),
        usd=None if costs is None else costs[0],
        saving=None if spent is None else Figure(1.0 - spent.value, spent.error),
    )


def _mixtures(strong: FloatArray, weak: FloatArray, order: IntArray, counts: IntArray) -> tuple[Figure, Figure | None]:
    """The mean over prompts of which the first `counts` in `order` count as strong, and its ratio to all strong."""
    n = strong.size
    mean = weak.mean() + _sums((strong - weak)[order], counts) / n
    square = (weak**2).mean() + _sums((strong**2 - weak**2)[order], counts) / n
    figure = Figure(mean, _root((square - mean**2) / n))
    whole = strong.mean()
    if not whole > 0.0:
        return figure, None
    ratio = mean / whole
    product = (weak * strong).mean() + _sums(((strong - weak) * strong)[order], counts) / n
    residual = square - 2.0 * ratio * product + ratio**2 * (strong**2).mean()
    return figure, Figure(ratio, _root(residual / n) / whole)


def _ratio(gain: FloatArray, order: IntArray, counts: IntArray) -> Figure:
    """The part of a sum that the first `counts` in `order` bring."""
    n, whole = gain.size, gain.mean()
    ratio = _sums(gain[order], counts) / n / whole
    residual = _sums((gain**2)[order], counts) / n * (1.0 - 2.0 * ratio) + ratio**2 * (gain**2).mean()
    return Figure(ratio, _root(residual / n) / abs(whole))


def _sums(values: FloatArray, counts: IntArray) -> FloatArray:
    """Sums of the first `counts` values."""
    return np.asarray(np.concatenate(([0.0], np.cumsum(values)))[counts])


def _root(values: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(values, 0.0)))  # rounding may leave a variance of zero just below it
