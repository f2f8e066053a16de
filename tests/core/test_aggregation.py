"""Win rates from class and score-token logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.aggregation import score_token_win_rates, three_class_win_rates

from oracles.strategies import logits


def test_three_class_reference(golden):
    """Reference win rates of the three-class router, to rounding."""
    case = golden["bert"]
    assert three_class_win_rates(np.array(case["logits"])) == pytest.approx(np.array(case["win_rate"]), abs=1e-12)


def test_score_token_reference(golden):
    """Reference win rates of the score-token router, to rounding."""
    case = golden["causal_llm"]
    got = score_token_win_rates(np.array(case["logits"]), score_threshold=case["score_threshold"])
    assert got == pytest.approx(np.array(case["win_rate"]), abs=1e-12)


@given(logits(3), st.sampled_from([1, 2]), st.floats(0.1, 10.0))
def test_three_class_falls_when_tie_or_weak_rises(x, column, rise):
    """Raising the tie or the weak logit never raises the win rate."""
    raised = x.copy()
    raised[:, column] += rise
    assert (three_class_win_rates(raised) <= three_class_win_rates(x) + 1e-15).all()


@given(logits(5), st.integers(1, 5))
def test_score_tokens_give_a_probability_that_grows_with_the_threshold(x, score_threshold):
    """Win rates are in [0, 1], and asking for a higher score sends no prompt to the weak model."""
    rates = score_token_win_rates(x, score_threshold=score_threshold)
    assert ((rates >= 0) & (rates <= 1)).all()
    if score_threshold < 5:
        assert (score_token_win_rates(x, score_threshold=score_threshold + 1) >= rates - 1e-15).all()


def test_shapes_and_thresholds_are_checked():
    """Another number of classes, or a threshold that is no score, is an error that says what was wanted."""
    with pytest.raises(ValueError, match=r"wanted \(n_prompts, 3\)"):
        three_class_win_rates(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"wanted \(n_prompts, 5\)"):
        score_token_win_rates(np.zeros(5))
    with pytest.raises(ValueError, match="wanted 1 to 5"):
        score_token_win_rates(np.zeros((1, 5)), score_threshold=6)


def test_half_a_tie_orders_by_expected_gain():
    """With half of a tie counted, win rates are (1 + p_strong - p_weak) / 2; a share outside [0, 1] is an error."""
    x = np.log([[0.2, 0.7, 0.1], [0.3, 0.1, 0.6]])
    assert three_class_win_rates(x, tie_share=0.5) == pytest.approx(np.array([0.55, 0.35]))
    with pytest.raises(ValueError, match="tie_share is 2"):
        three_class_win_rates(x, tie_share=2)
