"""Matrix-factorisation scoring."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.mf import MFWeights, fold_pair, folded_win_rates, model_logits, pair_win_rates

from oracles.reference import mf_win_rate
from oracles.strategies import mf_weights

seeds = st.integers(0, 2**32 - 1)


def _embeddings(weights: MFWeights, seed: int, n: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, weights.dim))


def test_reference_win_rates(golden):
    """The reference implementation's win rates on its seeded weights, to 1e-5."""
    case = golden["mf"]
    r, n = np.random.default_rng(case["seed"]), case["n"]
    P = r.standard_normal((64, 128)).astype(np.float32)
    W = (r.standard_normal((128, 1536)) / 39.2).astype(np.float32)
    c = (r.standard_normal((1, 128)) * 25.0).astype(np.float32)
    e = r.standard_normal((n, 1536))
    e = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
    pairs = r.integers(0, 64, (n, 2))
    pairs[:, 1] = np.where(pairs[:, 0] == pairs[:, 1], (pairs[:, 1] + 1) % 64, pairs[:, 1])
    weights = MFWeights(P, W, c[0], np.zeros(128))
    assert pair_win_rates(weights, e, pairs[:, 0], pairs[:, 1]) == pytest.approx(np.array(case["win_rate"]), abs=1e-5)


@given(mf_weights(), seeds)
def test_batched_scoring_equals_the_formula_term_by_term(weights, seed):
    """Every prompt and pair gives what the written-out formula gives."""
    e = _embeddings(weights, seed, n=2)
    rates = pair_win_rates(weights, e, np.array([0, 1]), np.array([1, 0]))
    for i, pair in enumerate([(0, 1), (1, 0)]):
        parts = (weights.model_embeddings, weights.projection, weights.classifier, weights.projection_bias)
        assert rates[i] == pytest.approx(mf_win_rate(*parts, e[i], pair), abs=1e-9)


@given(mf_weights(), seeds)
def test_win_rates_of_a_pair_and_its_mirror_add_to_one(weights, seed):
    """win_rate(a, b) + win_rate(b, a) = 1."""
    e = _embeddings(weights, seed)
    first, second = np.zeros(4, dtype=int), np.ones(4, dtype=int)
    total = pair_win_rates(weights, e, first, second) + pair_win_rates(weights, e, second, first)
    assert total == pytest.approx(np.ones(4), abs=1e-12)


@given(mf_weights(), seeds)
def test_the_folded_pair_equals_the_general_formula(weights, seed):
    """One dot product gives what the whole formula gives, to 1e-6, in float64 and float32."""
    e = _embeddings(weights, seed).astype(np.float32)
    general = pair_win_rates(weights, e, np.full(4, 1), np.full(4, 0))
    assert folded_win_rates(fold_pair(weights, 1, 0), e) == pytest.approx(general, abs=1e-6)


@given(mf_weights(), seeds, st.floats(0.01, 100.0))
def test_only_the_direction_of_a_model_embedding_counts(weights, seed, scale):
    """Scaling P changes nothing."""
    scaled = MFWeights(
        weights.model_embeddings * scale, weights.projection, weights.classifier, weights.projection_bias
    )
    e = _embeddings(weights, seed)
    assert model_logits(scaled, e) == pytest.approx(model_logits(weights, e), rel=1e-9, abs=1e-9)


@given(mf_weights(), st.floats(1.0, 1e200))
def test_huge_embeddings_still_give_probabilities(weights, size):
    """Every finite input gives a finite output in [0, 1]."""
    e = np.full((1, weights.dim), size)
    with np.errstate(over="ignore"):
        rates = folded_win_rates(fold_pair(weights, 0, 1), e)
    assert np.isfinite(rates).all()
    assert ((rates >= 0) & (rates <= 1)).all()


def test_misfits_are_named():
    """Shapes that do not fit, non-finite values and directionless models are errors that say so."""
    good = {
        "model_embeddings": np.eye(2),
        "projection": np.ones((2, 3)),
        "classifier": np.ones(2),
        "projection_bias": np.ones(2),
    }
    MFWeights(**good)
    with pytest.raises(ValueError, match="wanted \\(n_models, latent_dim\\)"):
        MFWeights(**{**good, "projection": np.ones((3, 3))})
    with pytest.raises(ValueError, match="NaN or infinity"):
        MFWeights(**{**good, "classifier": np.array([1.0, np.nan])})
    with pytest.raises(ValueError, match="row 1 is zero"):
        MFWeights(**{**good, "model_embeddings": np.array([[1.0, 0.0], [0.0, 0.0]])})
    with pytest.raises(ValueError, match=r"wanted \(n_prompts, 3\)"):
        model_logits(MFWeights(**good), np.ones((1, 4)))
    with pytest.raises(ValueError, match="row 1 contains NaN"):
        model_logits(MFWeights(**good), np.array([[1.0, 1, 1], [1, np.nan, 1]]))
    with pytest.raises(ValueError, match="one pair of models per prompt"):
        pair_win_rates(MFWeights(**good), np.ones((2, 3)), np.array([0]), np.array([1]))
