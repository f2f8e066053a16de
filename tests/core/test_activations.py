"""Sigmoid and softmax."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from pointsman.core.activations import sigmoid, softmax

from oracles.strategies import finite, logits


@given(arrays(np.float64, 5, elements=finite(1e308)))
def test_sigmoid_is_a_probability_for_every_finite_logit(x):
    """Any finite logit gives a finite value in [0, 1], without a warning."""
    p = sigmoid(x)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()


@given(finite(700.0))
def test_sigmoid_of_opposite_logits_adds_to_one(x):
    """sigmoid(x) + sigmoid(-x) = 1."""
    assert float(sigmoid(x) + sigmoid(-x)) == pytest.approx(1.0, abs=1e-15)


def test_sigmoid_keeps_small_tails():
    """The lower tail is exp(x), not 0."""
    assert float(sigmoid(-40.0)) == pytest.approx(np.exp(-40.0), rel=1e-12)


@given(logits(4), finite(1e3))
def test_softmax_adds_to_one_and_ignores_a_shift(x, shift):
    """Probabilities add to 1, and adding a constant to all logits changes nothing."""
    p = softmax(x)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(x)))
    assert softmax(x + shift) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("bad", [np.array([[np.nan, 1.0]]), np.array([[np.inf, 1.0]]), np.zeros((2, 0))])
def test_softmax_refuses_what_has_no_answer(bad):
    """NaN, infinity and an empty axis are errors."""
    with pytest.raises(ValueError, match="softmax needs"):
        softmax(bad)
