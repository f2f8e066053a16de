"""Source indicators and their removal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.training.source_effects import add_sources, average_sources, equal_shares
from pointsman.core.mf import MFWeights, model_logits

from oracles.strategies import mf_weights


@given(mf_weights(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_averaged_weights_equal_the_trained_ones_at_the_average(weights, n_sources, seed):
    """On bare embeddings the averaged weights give the logits that the trained ones give at equal shares."""
    rng = np.random.default_rng(seed)
    further = rng.standard_normal((weights.classifier.size, n_sources))
    projection = np.hstack([weights.projection, further])
    trained = MFWeights(weights.model_embeddings, projection, weights.classifier, weights.projection_bias)
    shares = equal_shares(n_sources)
    e = rng.standard_normal((3, weights.dim)).astype(np.float32)
    averaged = model_logits(average_sources(trained, shares), e)
    assert averaged == pytest.approx(model_logits(trained, add_sources(e, shares, n_sources)), rel=1e-5, abs=1e-5)


def test_each_prompt_is_marked_with_its_own_source():
    """Column k is 1 for prompts of source k and 0 for all others; the embedding is kept."""
    marked = add_sources(np.full((3, 2), 0.5, np.float32), np.array([1, 0, 1]), 2)
    assert marked.tolist() == [[0.5, 0.5, 0, 1], [0.5, 0.5, 1, 0], [0.5, 0.5, 0, 1]]
