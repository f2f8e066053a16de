"""What people see of requests on a terminal: a line of columns that fits, in colours only where they are shown."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.observers.terminal_log import TerminalFormatter, request_line

FIELDS = {
    "status": 200,
    "outcome": "answered",
    "key": None,
    "model": "gpt-4o",
    "router": "mf",
    "win_rate": 0.8123,
    "threshold": 0.6,
    "reason": "win_rate",
    "input_tokens": 312,
    "output_tokens": 45,
    "cost_usd": 0.00123,
    "total_ms": 412.3,
}


def line(*, colours=False, **fields):
    """The line of a request with these fields."""
    record = logging.LogRecord("pointsman.requests", logging.INFO, __file__, 0, "", (), None)
    record.fields = FIELDS | fields
    return TerminalFormatter(colours=colours).format(record)


def test_a_request_is_one_readable_line():
    """Time, status, model, win rate beside threshold, tokens, dollars, milliseconds."""
    said = line()
    assert said[8:].split() == ["200", "gpt-4o", "mf", "0.81", ">=", "0.60", "312+45", "tok", "$0.00123", "412", "ms"]
    assert 80 <= len(said) <= 120


def test_what_is_out_of_the_ordinary_is_said():
    """A reason other than the win rate, an outcome other than an answer, and the key."""
    said = line(reason="session", outcome="failed", status=502, key="team-a")
    assert said.endswith("team-a  failed, session")
    assert "named" in line(router=None, win_rate=None, threshold=None)


def test_colours_are_only_where_they_are_shown():
    """Escape sequences on a terminal alone, by status; the text is the same without them."""
    assert "\033[" not in line()
    for status, code in ((200, "32"), (404, "33"), (503, "31"), (None, "31")):
        assert f"\033[{code}m" in line(status=status, colours=True)
    assert line(colours=True).replace("\033[2m", "").replace("\033[32m", "").replace("\033[0m", "") == line()


@given(
    st.fixed_dictionaries({
        "status": st.none() | st.integers(100, 599),
        "model": st.none() | st.text(max_size=80),
        "router": st.none() | st.just("mine"),
        "win_rate": st.none() | st.floats(0, 1),
        "threshold": st.none() | st.floats(0, 1),
        "reason": st.none() | st.text(max_size=200),
        "input_tokens": st.none() | st.integers(0, 10**6),
        "output_tokens": st.none() | st.integers(0, 10**6),
        "cost_usd": st.none() | st.floats(0, 100),
        "total_ms": st.none() | st.floats(0, 1e6),
    })
)  # fmt: skip
def test_any_request_makes_a_line_that_fits(fields):
    """Whatever is not known, and however long names are."""
    assert len(request_line(FIELDS | fields)) <= 130


def test_other_messages_keep_their_level_and_exception():
    """A warning is told apart, and what was raised is shown."""
    try:
        raise ValueError("broken")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("pointsman", logging.WARNING, __file__, 0, "careful: %s", ("it",), info)
    said = TerminalFormatter(colours=False).format(record)
    assert "warning  careful: it" in said
    assert "ValueError: broken" in said
