"""Bootstrap intervals for quality curves, paired between routers.

A replicate draws the prompts anew, with replacement. As a prompt's place in the order never changes, a replicate is a
count per prompt, and its curve two running sums over the order that was sorted once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.metrics import ROUNDING, Ranking, check_outcomes, rank

__all__ = ["CPT_LEVELS", "Interval", "Replicates", "bootstrap_curves", "interval"]

CPT_LEVELS = (0.2, 0.5, 0.8)
_CHUNK_COUNTS = 60_000  # counts held at once: they stay in the cache
_MAX_UNDEFINED = 0.01


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of an interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """Bootstrap replicates of one router's figures; NaN where a replicate has no gap between the models.

    Attributes:
        apgr: shape (n_replicates,).
        auc: shape (n_replicates,).
        cpt: at `CPT_LEVELS`, shape (n_replicates, 3).
        quality: at the given shares, shape (n_replicates, n_shares).
    """

    apgr: FloatArray
    auc: FloatArray
    cpt: FloatArray
    quality: FloatArray


def bootstrap_curves(
    win_rates: Sequence[FloatArray],
    strong: FloatArray,
    weak: FloatArray,
    *,
    shares: FloatArray,
    n_replicates: int,
    rng: np.random.Generator,
) -> list[Replicates]:
    """Replicates of every router, replicate k of all of them on the same draw of prompts.

    Args:
        win_rates: one array of shape (n_prompts,) per router; only the order counts, ties by their expectation.
        strong, weak: scores, shape (n_prompts,).
        shares: strong shares in [0, 1] to give the quality at, increasing.

    Raises:
        ValueError: shapes differ, a value is not finite, or `n_replicates` is below 1.
    """
    strong, weak = check_outcomes(strong, weak)
    if n_replicates < 1:
        raise ValueError(f"n_replicates is {n_replicates}, wanted at least 1")
    if any(np.shape(rates) != strong.shape for rates in win_rates):
        raise ValueError(f"win_rates have shapes {[np.shape(r) for r in win_rates]}, wanted {strong.shape} for each")
    rankings = [rank(rates) for rates in win_rates]
    n = strong.size
    parts: list[list[Replicates]] = [[] for _ in rankings]
    chunk = max(1, _CHUNK_COUNTS // n)
    for first in range(0, n_replicates, chunk):
        counts = _draw(rng, n, min(chunk, n_replicates - first))
        quality_weak = counts @ weak / n
        for part, ranking in zip(parts, rankings, strict=True):
            part.append(_figures(counts, ranking, strong - weak, quality_weak, np.asarray(shares, dtype=np.float64)))
    return [_joined(part) for part in parts]


def interval(values: FloatArray, *, confidence: float = 0.95) -> Interval | None:
    """Percentile interval of replicates; None where more than 1 % of them are undefined.

    Raises:
        ValueError: `confidence` is not in (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, wanted a number in (0, 1)")
    defined = values[~np.isnan(values)]
    if defined.size < (1.0 - _MAX_UNDEFINED) * values.size or not defined.size:
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def _draw(rng: np.random.Generator, n: int, n_replicates: int) -> FloatArray:
    """How often each prompt was drawn in n draws with replacement, shape (n_replicates, n)."""
    drawn = rng.integers(0, n, (n_replicates, n), dtype=np.int64)
    drawn += (np.arange(n_replicates) * n)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_replicates * n).reshape(n_replicates, n).astype(np.float64)


def _figures(
    counts: FloatArray, ranking: Ranking, gain: FloatArray, quality_weak: FloatArray, shares: FloatArray
) -> Replicates:
    n = len(gain)
    size = counts[:, ranking.order]
    gained = size * gain[ranking.order]
    if len(ranking.starts) < n:
        size = np.add.reduceat(size, ranking.starts, axis=1)
        gained = np.add.reduceat(gained, ranking.starts, axis=1)
    share, recovered = _from_zero(size) / n, _from_zero(gained) / n
    middle = (recovered[:, :-1] + recovered[:, 1:]) / 2.0
    area = np.einsum("ij,ij->i", size, middle) / n
    total = recovered[:, -1]
    scale = np.maximum(np.abs(quality_weak), np.abs(quality_weak + total))
    total = np.where(total > ROUNDING * scale, total, np.nan)
    quality = np.stack([np.interp(shares, s, r) for s, r in zip(share, recovered, strict=True)])
    return Replicates(
        apgr=area / total,
        auc=quality_weak + area,
        cpt=np.stack([_crossings(share, recovered, level * total) for level in CPT_LEVELS], axis=1),
        quality=quality + quality_weak[:, None],
    )


def _from_zero(steps: FloatArray) -> FloatArray:
    """Running sums along the rows, 0 first."""
    sums = np.zeros((steps.shape[0], steps.shape[1] + 1))
    np.cumsum(steps, axis=1, out=sums[:, 1:])
    return sums


def _crossings(share: FloatArray, recovered: FloatArray, wanted: FloatArray) -> FloatArray:
    """Least share of each row at which `recovered` is `wanted`, a positive number; NaN where that is NaN."""
    rows = np.arange(len(share))
    k = np.maximum((recovered >= ((1.0 - ROUNDING) * wanted)[:, None]).argmax(axis=1), 1)
    before, after = recovered[rows, k - 1], recovered[rows, k]
    part = np.minimum(1.0, (wanted - before) / np.where(after > before, after - before, 1.0))
    return np.asarray(share[rows, k - 1] + part * (share[rows, k] - share[rows, k - 1]))


def _joined(parts: list[Replicates]) -> Replicates:
    return Replicates(
        np.concatenate([p.apgr for p in parts]),
        np.concatenate([p.auc for p in parts]),
        np.concatenate([p.cpt for p in parts]),
        np.concatenate([p.quality for p in parts]),
    )
