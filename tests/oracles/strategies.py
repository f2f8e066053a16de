"""Hypothesis strategies: bounded, and valid by construction."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.core.battles import Battles
from pointsman.core.mf import MFWeights

__all__ = ["battles", "finite", "logits", "mf_weights", "win_rates", "win_tables"]


def finite(bound: float) -> st.SearchStrategy[float]:
    """Finite floats in [-bound, bound]."""
    return st.floats(-bound, bound, allow_nan=False, width=64)


def logits(n_classes: int) -> st.SearchStrategy[np.ndarray]:
    """Logits of shape (1 to 5, n_classes)."""
    return st.integers(1, 5).flatmap(lambda n: arrays(np.float64, (n, n_classes), elements=finite(50.0)))


def win_rates(min_size: int = 1, max_size: int = 200) -> st.SearchStrategy[np.ndarray]:
    """Win rates, some of them tied."""
    values = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return st.lists(values, min_size=min_size, max_size=max_size).map(np.array)


@st.composite
def battles(
    draw: Callable[..., object],
    *,
    weights: st.SearchStrategy[float] | None = None,
    max_models: int = 6,
    max_battles: int = 40,
) -> Battles:
    """Battles among two or more models, any outcome, connected or not."""
    n_models = draw(st.integers(2, max_models))
    n = draw(st.integers(1, max_battles))
    index = arrays(np.int64, n, elements=st.integers(0, n_models - 1))
    return Battles(
        tuple(f"m{i}" for i in range(n_models)),
        draw(index),
        draw(index),
        draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 0.5, 1.0]))),
        draw(arrays(np.float64, n, elements=st.just(1.0) if weights is None else weights)),
    )


@st.composite
def win_tables(draw: Callable[..., object], *, max_models: int = 6) -> np.ndarray:
    """Win tables in which everyone beat everyone at least a little: the maximum exists."""
    n = draw(st.integers(2, max_models))
    table = draw(arrays(np.float64, (n, n), elements=st.floats(0.125, 64.0)))
    np.fill_diagonal(table, 0.0)
    return table


@st.composite
def mf_weights(draw: Callable[..., object]) -> MFWeights:
    """Weights of a small matrix-factorisation router."""
    n_models, latent_dim, dim = draw(st.tuples(st.integers(2, 5), st.integers(1, 6), st.integers(1, 8)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.floats(1e-3, 1e2))
    return MFWeights(
        rng.standard_normal((n_models, latent_dim)) * scale,
        rng.standard_normal((latent_dim, dim)) * scale,
        rng.standard_normal(latent_dim),
        rng.standard_normal(latent_dim),
    )
