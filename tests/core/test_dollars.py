"""Dollars in words."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.core.dollars import dollar_column, dollars

AMOUNTS = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(
    ("usd", "words"),
    [
        (0.0, "$0.00"), (-0.0, "$0.00"), (1204.5, "$1,204.50"), (0.9949, "$0.995"), (0.996, "$1.00"), (0.1, "$0.10"),
        (0.1 + 0.2, "$0.30"), (0.00123456, "$0.00123"), (0.0000004, "< $0.000001"), (-0.0000004, "> -$0.000001"),
        (0.0000009, "$0.000001"), (-2.5, "-$2.50"), (-0.036, "-$0.036"), (0.0995, "$0.0995"),
    ],
)  # fmt: skip
def test_amounts_in_words(usd, words):
    """Cents from a dollar on, three digits below, never noise of a float, never nothing for something."""
    assert dollars(usd) == words


@given(AMOUNTS)
@example(5e-7)
@example(-5e-7)
@example(0.995)
def test_words_are_the_amount(usd):
    """The words are within half a unit of their last digit, and name zero for zero alone."""
    words = dollars(usd)
    if usd and abs(usd) <= 5e-7:
        assert words in ("< $0.000001", "> -$0.000001")
        return
    assert re.fullmatch(r"-?\$\d{1,3}(,\d{3})*\.\d{2,6}", words)
    value = float(words.replace("$", "").replace(",", ""))
    digits = len(words.partition(".")[2])
    assert abs(value - usd) <= max(0.5000001 * 10.0**-digits, 0.0051 * min(abs(usd), 1.0))
    assert (value == 0.0) == (usd == 0.0)
    assert dollars(usd, sign=True).lstrip("+") == words


@given(st.lists(st.none() | AMOUNTS, max_size=6))
@example([5e-7])
def test_a_column_has_one_number_of_decimals(amounts):
    """All cells of amounts have as many decimals, enough that what is not nothing does not read as nothing."""
    cells = dollar_column(amounts)
    shown = [cell for cell, usd in zip(cells, amounts, strict=True) if usd is not None]
    assert len({len(cell.partition(".")[2]) for cell in shown}) <= 1
    for cell, usd in zip(cells, amounts, strict=True):
        assert (cell == "-") == (usd is None)
        assert usd is None or abs(usd) <= 5e-7 or float(cell.replace(",", "")) != 0.0
