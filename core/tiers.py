"""Grouping models of similar strength."""

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray

__all__ = ["assign_tiers"]


def assign_tiers(ratings: FloatArray, n_tiers: int) -> IntArray:
    """Tier of every model, 0 the strongest: contiguous groups with the least sum of population variances.

    Solved exactly by dynamic programming over sorted ratings; a group of one costs 0 (Ong et al. 2024, section 3.1).

    Args:
        ratings: finite, on any scale, shape (n_models,).
        n_tiers: number of groups; with fewer models than that every model is a tier of its own.

    Returns:
        Tiers in [0, n_tiers), shape (n_models,).

    Raises:
        ValueError: `ratings` is empty or not finite, or `n_tiers` is below 1.
    """
    ratings = np.asarray(ratings, dtype=np.float64)
    if ratings.ndim != 1 or ratings.size == 0 or not np.isfinite(ratings).all():
        raise ValueError(f"ratings have shape {ratings.shape}, wanted (n_models,), at least one and all finite")
    if n_tiers < 1:
        raise ValueError(f"n_tiers is {n_tiers}, wanted at least 1")
    order = np.argsort(-ratings, kind="stable")
    starts = _group_starts(ratings[order], min(n_tiers, ratings.size))
    tiers = np.empty(ratings.size, dtype=np.int64)
    tiers[order] = np.searchsorted(starts, np.arange(ratings.size), side="right") - 1
    return tiers


def _group_starts(values: FloatArray, n_groups: int) -> list[int]:
    """First index of each of the `n_groups` groups of sorted values."""
    n = values.size
    variance = _range_variances(values)
    cost = variance[0].copy()  # cost[j]: values[: j + 1] in one group
    choice = np.zeros((n_groups, n), dtype=np.int64)
    for group in range(1, n_groups):
        longer = np.full(n, np.inf)
        for end in range(group, n):
            split = np.arange(group, end + 1)
            candidates = cost[split - 1] + variance[split, end]
            best = int(np.argmin(candidates))
            longer[end], choice[group, end] = candidates[best], split[best]
        cost = longer
    starts, end = [], n - 1
    for group in range(n_groups - 1, -1, -1):
        starts.append(int(choice[group, end]))
        end = starts[-1] - 1
    return starts[::-1]


def _range_variances(values: FloatArray) -> FloatArray:
    """Population variance of values[i : j + 1] at (i, j); infinite below the diagonal. Welford's update, row by row."""
    n = values.size
    variance = np.full((n, n), np.inf)
    for start in range(n):
        count = np.arange(1, n - start + 1)
        tail = values[start:] - values[start]
        mean = np.cumsum(tail) / count
        before = np.concatenate(([0.0], mean[:-1]))
        variance[start, start:] = np.cumsum((tail - before) * (tail - mean)) / count
    return variance
