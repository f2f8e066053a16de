"""Cascades of any number of models: who answers, what it costs, and how one number sets all thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.cascade import Window, cascade_bills, cascade_scores
from pointsman.core.chain import chain_thresholds, play_chain

RATE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def chains(draw):
    """Win rates by prompt and by answer, thresholds, windows, scores and dollars of 2 to 4 models."""
    n = draw(st.integers(2, 4))
    several, numbers = st.lists(RATE, min_size=n - 1, max_size=n - 1), st.lists(RATE, min_size=n, max_size=n)
    sides = st.sampled_from([0.0, 0.25, 2.0])
    zones = draw(st.lists(st.builds(Window, sides, sides), min_size=n - 1, max_size=n - 1))
    return draw(several), draw(several), draw(several), zones, draw(numbers), draw(numbers)


def followed(prompt, read, thresholds, zones, usd):
    """One prompt taken up the chain step by step: who answers, and what that costs."""
    last, place, look = len(usd) - 1, 0, "strong"
    while place < last:
        look = zones[place].look(prompt[place], thresholds[place]) if thresholds[place] > 0 else "strong"
        if look != "strong":
            break
        place += 1
    bill = usd[place]
    while look == "cascade" and place < last and read[place] >= thresholds[place]:
        place += 1
        bill += usd[place]
    return place, bill


@given(chains())
def test_a_chain_asks_on_until_an_answer_is_enough(row):
    """Who answers, its score and the bill of all calls are those of the prompt followed by itself."""
    prompt, read, thresholds, zones, score, usd = row
    found = play_chain(
        [np.array([rate]) for rate in prompt],
        [np.array([rate]) for rate in read],
        thresholds,
        zones,
        score=np.array([score]),
        usd=np.array([usd]),
    )
    place, bill = followed(prompt, read, thresholds, zones, usd)
    assert (found.answered[0], found.score[0]) == (place, score[place])
    assert found.usd[0] == pytest.approx(bill)


@given(st.lists(st.tuples(RATE, RATE, RATE, RATE), min_size=1), RATE)
def test_a_chain_of_two_is_a_cascade(rows, threshold):
    """Its mean bill and its answers are those of `core.cascade`."""
    p, w, weak, strong = (np.array(values) for values in zip(*rows, strict=True))
    zone = Window(0.25, 0.125)
    score, usd = np.stack([np.zeros(len(p)), np.ones(len(p))], axis=1), np.stack([weak, strong], axis=1)
    found = play_chain([p], [w], [threshold], [zone], score=score, usd=usd)
    bills = cascade_bills(p, w, np.array([threshold]), zone=zone, weak=weak, strong=strong)
    assert found.usd.mean() == pytest.approx(bills[0])
    assert np.array_equal(found.answered == 1, cascade_scores(p, w, zone) >= threshold)


def test_a_dearer_next_model_must_promise_more():
    """Thresholds rise with the next model's dollars, and are 1/2, any benefit, where dollars do not count."""
    assert chain_thresholds([1.0, 2.0, 4.0], 0.1) == pytest.approx((0.6, 0.7))
    assert chain_thresholds([1.0, 2.0, 4.0], 0.0) == (0.5, 0.5)
    assert chain_thresholds([1.0, 2.0], 10.0) == (1.0,)


def test_parts_that_do_not_fit_are_refused():
    """A chain has one verifier and one threshold for every model but the last."""
    with pytest.raises(ValueError, match="3 models, 1 win rates, 2 thresholds and 1 windows"):
        play_chain(
            [np.zeros(1)],
            [np.zeros(1)],
            [0.5, 0.5],
            [Window(0.0, 0.0)],
            score=np.zeros((1, 3)),
            usd=np.zeros((1, 3)),
        )
