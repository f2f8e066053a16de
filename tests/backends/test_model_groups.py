"""Groups of models as models of their own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.data.outcomes import Outcomes, outcome_battles
from pointsman.backends.training.model_groups import group_battles, group_gains
from pointsman.core.errors import DataError

MODELS = ("a", "b", "c", "d")


def _outcomes(scores: np.ndarray) -> Outcomes:
    """Scores of four models, NaN where one was not asked, shape (n_prompts, 4)."""
    prompt, model = np.nonzero(np.isfinite(scores))
    prompts = tuple(f"p{i}" for i in range(len(scores)))
    return Outcomes(prompts, MODELS, prompt, model, scores[prompt, model])


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_gains_on_right_or_wrong_answers_are_the_shares_of_the_win(seed, n_prompts):
    """Where every score is 0 or 1, the gain of a group is its share of the win over the other, ties half."""
    outcomes = _outcomes(np.random.default_rng(seed).integers(0, 2, (n_prompts, 4)).astype(float))
    gains = group_gains(outcomes, ["a", "b"], ["c", "d"])
    shares = group_battles(outcome_battles(outcomes), ["a", "b"], ["c", "d"])
    assert gains.prompt.tolist() == shares.prompt.tolist()
    assert gains.battles.outcome == pytest.approx(shares.battles.outcome)
    assert gains.battles.models == shares.battles.models == ("strong", "weak")


def test_a_gain_is_the_difference_of_the_mean_scores():
    """Graded scores count by how much they differ; prompts that a whole group was not asked are left out."""
    nan = np.nan
    scores = np.array([[0.9, 0.7, 0.2, 0.4], [0.5, nan, 0.7, nan], [nan, nan, 0.1, 0.2], [1.0, 1.0, nan, nan]])
    found = group_gains(_outcomes(scores), ["a", "b"], ["c", "d"])
    assert found.prompt.tolist() == [0, 1]
    assert found.battles.outcome == pytest.approx([(1 + 0.5) / 2, (1 - 0.2) / 2])


def test_scores_on_another_scale_and_groups_that_never_met_are_refused():
    """Scores outside [0, 1] and groups without a common prompt are errors that say so."""
    with pytest.raises(DataError, match=r"scores range from 1.0 to 5.0, wanted \[0, 1\]"):
        group_gains(_outcomes(np.array([[1.0, 5.0, 2.0, 3.0]])), ["a"], ["c"])
    with pytest.raises(DataError, match=r"no prompt was put to a strong \(a\) and a weak model \(d\)"):
        group_gains(_outcomes(np.array([[1.0, 1.0, 0.0, np.nan]])), ["a"], ["d"])
