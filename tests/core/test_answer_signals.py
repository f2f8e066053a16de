"""What is read from an answer's text and its log-probabilities."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.answer_signals import PROBABILITY_SIGNALS, SIGNALS, Answer, answer_signals, known_signals


def read(text, prompt="What is 3 times 60?", **facts):
    """Signals of one answer."""
    return {name: float(values[0]) for name, values in answer_signals([prompt], [Answer(text, **facts)]).items()}


@given(st.text(max_size=300), st.text(max_size=300))
def test_every_text_has_finite_signals(prompt, text):
    """Whatever prompt and answer hold, the signals of the text are finite, and those that were not told are NaN."""
    found = read(text, prompt, output_tokens=3)
    for name in SIGNALS:
        missing = name in (*PROBABILITY_SIGNALS, "agreement", "p_true", "checker")
        assert math.isnan(found[name]) == missing


@pytest.mark.parametrize(
    ("text", "n", "wrong"),
    [
        ("3 * 60 = 180", 1, 0.0),
        ("3 x 60 = <<3*60=180>>180, and 180 + 20 = 210", 2, 0.5),
        ("$1,200 - 20% of it; 2 + 3 * 4 = 14", 1, 0.0),
        ("50% * 30 = 15", 1, 0.0),
        ("10 / 0 = 3", 1, 1.0),
        ("x = 3, and no equation between numbers", 0, 0.0),
        ("10 - 2 - 3 = 5", 1, 0.0),
    ],
)
def test_equations_that_do_not_hold_are_found(text, n, wrong):
    """Products come before sums, percentages and thousands are read, and what is no equation is none."""
    found = read(text)
    assert found["equations"] == pytest.approx(math.log1p(n))
    assert found["wrong_equations"] == pytest.approx(wrong)


def test_the_doubt_is_that_of_the_mean_token_where_no_confidence_is_told():
    """A confidence that is told counts; else the mean of the tokens' log-probabilities."""
    told = read("B", confidence=math.log(0.75))
    assert told["doubt"] == pytest.approx(math.log(0.25))
    assert read("B", token_logprobs=(math.log(0.75),) * 4)["doubt"] == pytest.approx(math.log(0.25))
    assert read("B", token_logprobs=(-0.1, -3.0, -0.2))["worst_token"] == -3.0


def test_refusals_and_hedges_are_recognised():
    """A refusal is one where it begins the answer; words of doubt are counted."""
    assert read("I'm sorry, but I can't help with that.")["refusal"] == 1.0
    assert read("The answer is 4.")["refusal"] == 0.0
    assert read("It is perhaps 4, but I think it depends.")["hedges"] == pytest.approx(math.log1p(3))


def test_a_long_answer_takes_bounded_time():
    """A megabyte of digits, of operators or of both is read at its ends alone."""
    for text in ("1" * 1_000_000, "1+" * 500_000, "1 = " * 250_000, "$" * 1_000_000):
        assert all(np.isfinite(value) for name, value in read(text).items() if name == "equations")


def test_without_an_answer_only_the_prompt_is_known():
    """No answer: all signals are missing but the prompt's own length."""
    found = answer_signals(["abc"], [None])
    assert [name for name, values in found.items() if not np.isnan(values[0])] == ["prompt_characters"]
    with pytest.raises(ValueError, match="0 answers to 1 prompts"):
        answer_signals(["abc"], [])


@given(st.text(max_size=200), st.text(max_size=200), st.lists(st.floats(-5.0, 0.0), max_size=4), st.integers(0, 50))
def test_kept_signals_stand_for_the_answer(prompt, text, logprobs, n_tokens):
    """What is kept of an answer gives the signals that its text gives, and survives JSON."""
    answer = Answer(text, token_logprobs=tuple(logprobs), output_tokens=n_tokens, finish_reason="stop")
    kept = json.loads(json.dumps(known_signals(prompt, answer)))
    read, again = answer_signals([prompt], [answer]), answer_signals(["hash:1"], [kept])
    assert all(np.array_equal(read[name], again[name], equal_nan=True) for name in SIGNALS)
