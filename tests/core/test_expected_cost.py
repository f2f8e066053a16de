"""Expected bills: the price list's own arithmetic, and what answers' lengths are expected from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.expected_cost import AnswerTokens, LabelledBill, expected_usd
from pointsman.core.prices import Price

TOKENS = st.integers(0, 100_000)


@given(TOKENS, TOKENS, TOKENS)
def test_it_is_what_the_answer_would_be_charged(input_tokens, cached, output):
    """With the tokens that came, the expected bill is the bill."""
    price = Price(2.0, 8.0, cached_input_usd=0.5, per_request_usd=0.01)
    cached = min(cached, input_tokens)
    got = expected_usd(price, input_tokens=input_tokens, cached_tokens=cached, output_tokens=output)
    assert got == pytest.approx(price.cost_usd(input_tokens, output, cached_tokens=cached))


@given(TOKENS, TOKENS, st.floats(0, 100), st.floats(0, 100))
def test_plain_tokens_cost_what_the_same_tokens_cost_in_parts(input_tokens, output, input_usd, output_usd):
    """Told apart at equal prices, as cached, written, heard or spoken, tokens cost what they cost untold."""
    price = Price(input_usd, output_usd, per_request_usd=0.01)
    third, half = input_tokens // 3, output // 2
    parts = {"cached_tokens": third, "cache_write_tokens": third, "audio_input_tokens": third}
    in_parts = price.cost_usd(input_tokens, output, **parts, audio_output_tokens=half)
    assert price.cost_usd(input_tokens, output) == pytest.approx(in_parts)


def test_labels_come_before_means_and_prices_before_labelled_bills():
    """Labelled tokens are priced; a labelled bill counts without a price; without either nothing is known."""
    price = Price(0.0, 10.0)
    labelled = LabelledBill(usd=7.0, output_tokens=100.0)
    assert expected_usd(price, input_tokens=5, output_tokens=900.0, labelled=labelled) == pytest.approx(1e-3)
    assert expected_usd(price, input_tokens=5, output_tokens=900.0) == pytest.approx(9e-3)
    assert expected_usd(None, input_tokens=5, output_tokens=900.0, labelled=labelled) == 7.0
    assert expected_usd(None, input_tokens=5, output_tokens=900.0) is None


@given(st.lists(st.floats(0, 1e5), max_size=50), st.floats(0, 1e4))
def test_a_running_mean_lies_between_the_guess_and_what_came(answers, guess):
    """The mean starts at the guess, stays within the range of guess and answers, and is each model's own."""
    tokens = AnswerTokens(guess=guess)
    assert tokens.mean("a") == pytest.approx(guess)
    for answer in answers:
        tokens.learn("a", answer)
    assert min([guess, *answers]) - 1e-6 <= tokens.mean("a") <= max([guess, *answers]) + 1e-6
    assert tokens.mean("b") == pytest.approx(guess)


def test_a_running_mean_follows_a_change():
    """After many answers of a new length the old ones hardly count."""
    tokens = AnswerTokens(guess=300.0)
    for length in (100.0, 900.0):
        for _ in range(5000):
            tokens.learn("a", length)
    assert tokens.mean("a") == pytest.approx(900.0, rel=0.02)


def test_wrong_guesses_are_errors():
    """A negative guess or one without weight is refused."""
    with pytest.raises(ValueError, match="guess is -1"):
        AnswerTokens(guess=-1.0)
    with pytest.raises(ValueError, match="counts 0"):
        AnswerTokens(guess=1.0, guess_counts=0.0)
