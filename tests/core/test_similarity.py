"""Similarity weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from pointsman.core.similarity import similarity_weights, unit_rows

from oracles.strategies import finite


@given(arrays(np.float64, (2, 6), elements=finite(1.0)))
def test_weights_are_positive_and_the_best_match_weighs_most(cosines):
    """Weights lie in (0, 100], and no battle weighs more than the most similar one."""
    weights = similarity_weights(cosines)
    assert (weights > 0).all()
    assert (weights <= 100 + 1e-9).all()
    for row, w in zip(cosines, weights, strict=True):
        assert w.argmax() == row.argmax() or w[row.argmax()] == pytest.approx(w.max())


def test_known_weights():
    """10 x 10^(s / max s): the best match weighs 100, half as similar 10 sqrt 10, unrelated 10."""
    assert similarity_weights(np.array([0.8, 0.4, 0.0])) == pytest.approx([100.0, 10 * np.sqrt(10), 10.0])


def test_nothing_similar_means_equal_weights():
    """Without one positive cosine, no battle is preferred."""
    assert similarity_weights(np.array([-0.5, -0.1, 0.0])).tolist() == [10.0, 10.0, 10.0]


def test_zero_rows_stay_zero():
    """A zero embedding has no direction and stays zero."""
    assert unit_rows(np.array([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(np.array([[0.0, 0.0], [0.6, 0.8]]))
