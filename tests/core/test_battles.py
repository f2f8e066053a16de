"""Battles and their win table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.battles import Battles, win_table

from oracles.strategies import battles


@given(battles(weights=st.floats(0, 8)))
def test_the_win_table_counts_every_battle_once(b):
    """Wins add up to the weight of all battles between different models."""
    different = b.model_a != b.model_b
    assert win_table(b).sum() == pytest.approx(b.weight[different].sum())


@given(battles(weights=st.integers(0, 4).map(float)))
def test_weight_k_counts_like_k_copies(b):
    """A battle of weight k gives the same table as k battles of weight 1."""
    copies = np.repeat(np.arange(len(b)), b.weight.astype(int))
    plain = Battles(b.models, b.model_a[copies], b.model_b[copies], b.outcome[copies], np.ones(len(copies)))
    assert win_table(plain) == pytest.approx(win_table(b))


@given(battles(weights=st.floats(0, 8)), st.randoms(use_true_random=False))
def test_order_of_battles_is_irrelevant(b, random):
    """Any order gives the same table."""
    order = list(range(len(b)))
    random.shuffle(order)
    shuffled = Battles(b.models, b.model_a[order], b.model_b[order], b.outcome[order], b.weight[order])
    assert win_table(shuffled) == pytest.approx(win_table(b))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("model_a", [0, 2], "model_a is 2 in row 1"),
        ("outcome", [0.5, 1.5], "outcome is 1.5 in row 1"),
        ("weight", [-1.0, 1.0], r"weight is -1.0 in row 0"),
        ("weight", [1.0, np.inf], "weight is inf in row 1"),
        ("outcome", [np.nan, 1.0], "outcome is nan in row 0"),
        ("outcome", [1.0], "wanted one length"),
        ("models", ("x", "x"), "occurs twice"),
    ],
)
def test_bad_columns_name_the_row(column, value, words):
    """A value out of range is an error with the column, the value and the row."""
    good = {"models": ("x", "y"), "model_a": [0, 1], "model_b": [1, 0], "outcome": [1.0, 0.0], "weight": [1.0, 1.0]}
    with pytest.raises(ValueError, match=words):
        Battles(**{**good, column: value})
