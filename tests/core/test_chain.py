"""Cascades of any number of models: who answers, what it costs, and how one number sets all thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.cascade import Window
from pointsman.core.chain import chain_thresholds, play_chain

RATE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def chains(draw):
    """A prompt's win rate, its answers' win rates, thresholds, a window, scores and dollars of 2 to 4 models."""
    n = draw(st.integers(2, 4))
    several = st.lists(RATE, min_size=n - 1, max_size=n - 1)
    zone = Window(draw(st.sampled_from([0.0, 0.25, 2.0])), draw(st.sampled_from([0.0, 0.25, 2.0])))
    numbers = st.lists(RATE, min_size=n, max_size=n)
    return draw(RATE), draw(several), draw(several), zone, draw(numbers), draw(numbers)


def followed(prompt, read, thresholds, zone, usd):
    """One prompt taken up the chain step by step: who answers, and what that costs."""
    last = len(usd) - 1
    look = zone.look(prompt, thresholds[0]) if thresholds[0] > 0 else "strong"
    if look == "strong":
        return last, usd[last]
    place, bill = 0, usd[0]
    while look == "cascade" and place < last and read[place] >= thresholds[place]:
        place += 1
        bill += usd[place]
    return place, bill


@given(st.lists(chains(), min_size=1, max_size=1))
def test_a_chain_asks_on_until_an_answer_is_enough(rows):
    """Who answers, its score and the bill of all calls are those of the prompt followed by itself."""
    ((prompt, read, thresholds, zone, score, usd),) = rows
    found = play_chain(
        np.array([prompt]),
        [np.array([rate]) for rate in read],
        thresholds,
        zone,
        score=np.array([score]),
        usd=np.array([usd]),
    )
    place, bill = followed(prompt, read, thresholds, zone, usd)
    assert (found.answered[0], found.score[0]) == (place, score[place])
    assert found.usd[0] == pytest.approx(bill)


def test_a_dearer_next_model_must_promise_more():
    """Thresholds rise with the next model's dollars, and are 1/2, any benefit, where dollars do not count."""
    assert chain_thresholds([1.0, 2.0, 4.0], 0.1) == pytest.approx((0.6, 0.7))
    assert chain_thresholds([1.0, 2.0, 4.0], 0.0) == (0.5, 0.5)
    assert chain_thresholds([1.0, 2.0], 10.0) == (1.0,)


def test_parts_that_do_not_fit_are_refused():
    """A chain has one verifier and one threshold for every model but the last."""
    with pytest.raises(ValueError, match="3 models, 1 win rates and 2 thresholds"):
        play_chain(
            np.zeros(1), [np.zeros(1)], [0.5, 0.5], Window(0.0, 0.0), score=np.zeros((1, 3)), usd=np.zeros((1, 3))
        )
