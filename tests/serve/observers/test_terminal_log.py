"""What people see of requests on a terminal: a line of columns that fits, in colours only where they are shown."""

import logging
import os
import sys
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.observers.request_log import set_up_logging
from pointsman.serve.observers.terminal_log import TerminalFormatter

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
    """The line of a request with these fields, where there is no terminal."""
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
    assert line(reason="session", outcome="failed", status=502).endswith("  failed, session")
    assert line(reason="session", key="team-a").endswith("  team-a  session")
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
        "outcome": st.sampled_from(["answered", "failed", "cancelled"]),
        "key": st.none() | st.text(max_size=60),
        "input_tokens": st.none() | st.integers(0, 10**6),
        "output_tokens": st.none() | st.integers(0, 10**6),
        "cost_usd": st.none() | st.floats(0, 100),
        "total_ms": st.none() | st.floats(0, 1e6),
    }),
    st.integers(1, 300),
)  # fmt: skip
def test_any_request_is_one_line_that_fits_its_terminal(fields, columns):
    """Whatever is not known, however long names are and whatever they hold: no wider than 80 to 120 characters."""
    with patch("os.get_terminal_size", return_value=os.terminal_size((columns, 24))):
        said = line(**fields)
    assert len(said) <= min(max(columns, 80), 120)
    assert said.isprintable()


def test_a_narrow_terminal_shows_what_is_out_of_the_ordinary():
    """On 80 columns the reason stands where the win rate does, and tokens are left out."""
    with patch("os.get_terminal_size", return_value=os.terminal_size((80, 24))):
        plain, odd = line(), line(reason="session", outcome="failed", status=502)
    assert "mf 0.81 >= 0.60" in plain and "tok" not in plain
    assert "failed, session" in odd


@pytest.mark.parametrize(("style", "terminal", "pretty"), [
    ("auto", True, True), ("auto", False, False), ("json", True, False), ("pretty", False, True), ("text", False, True),
])  # fmt: skip
def test_people_read_a_terminal_and_machines_a_pipe(style, terminal, pretty, monkeypatch):
    """Unless it is said otherwise; a pipe never gets colours. A text that was cut off is written, too."""
    made, ours = [], SimpleNamespace(fileno=lambda: 2, isatty=lambda: terminal)
    monkeypatch.setattr(sys, "stderr", ours)
    monkeypatch.setattr("pointsman.serve.observers.request_log.LogWriter", lambda _: logging.NullHandler())
    monkeypatch.setattr(logging, "basicConfig", lambda *, level, handlers: made.extend(handlers))
    set_up_logging(style)
    assert isinstance(made[0].formatter, TerminalFormatter) == pretty
    record = logging.LogRecord("pointsman", logging.WARNING, __file__, 0, "careful \ud83d", (), None)
    said = made[0].formatter.format(record)
    assert "careful" in said and ("\033[" in said) == (pretty and terminal)


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
