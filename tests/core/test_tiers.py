"""Tiers of models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.core.tiers import assign_tiers

from oracles.reference import best_partition_cost
from oracles.strategies import finite

ratings = st.integers(1, 9).flatmap(lambda n: arrays(np.float64, n, elements=finite(1e3)))


def _cost(values: np.ndarray, tiers: np.ndarray) -> float:
    return sum(float(np.var(values[tiers == t])) for t in range(int(tiers.max()) + 1))


@given(ratings, st.integers(1, 5))
def test_tiers_are_the_cheapest_of_all_partitions(values, n_tiers):
    """The sum of variances equals the best over every way to cut the sorted ratings."""
    tiers = assign_tiers(values, n_tiers)
    best = best_partition_cost(values, min(n_tiers, len(values)))
    assert _cost(values, tiers) == pytest.approx(best, abs=1e-6 * (1 + np.var(values)))


@given(ratings, st.integers(1, 12))
def test_tiers_are_contiguous_and_the_strongest_come_first(values, n_tiers):
    """A better rating never gets a worse tier, and no tier is empty."""
    tiers = assign_tiers(values, n_tiers)
    assert (np.diff(tiers[np.argsort(-values, kind="stable")]) >= 0).all()
    assert set(tiers.tolist()) == set(range(min(n_tiers, len(values))))


def test_bad_ratings_are_refused():
    """No ratings, NaN, and no tiers are errors."""
    with pytest.raises(ValueError, match="at least one and all finite"):
        assign_tiers(np.array([]), 2)
    with pytest.raises(ValueError, match="at least one and all finite"):
        assign_tiers(np.array([1.0, np.nan]), 2)
    with pytest.raises(ValueError, match="wanted at least 1"):
        assign_tiers(np.array([1.0]), 0)
