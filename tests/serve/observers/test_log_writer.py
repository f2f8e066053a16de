"""Logging never holds up a request."""

import logging
import os
import time

import pytest

from pointsman.serve.observers.log_writer import LogWriter, lost_lines


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)


@pytest.fixture
def writer(pipe):
    made = LogWriter(pipe[1])
    logging.getLogger().addHandler(made)
    yield made
    logging.getLogger().removeHandler(made)


def line(text):
    return logging.LogRecord("x", logging.INFO, __file__, 0, text, (), None)


def test_lines_are_written_in_their_order(pipe, writer):
    """All of them, each once, whatever characters they hold."""
    for i in range(500):
        writer.handle(line(f"{i} ü \ud800"))
    writer.flush()
    expected = b"".join(f"{i} ü ".encode() + b"\\ud800\n" for i in range(500))
    assert os.read(pipe[0], 1 << 20) == expected
    os.close(pipe[0])
    assert lost_lines() == 0


def test_a_reader_that_stalls_holds_up_nobody(pipe, writer):
    """With the pipe full, lines wait; beyond ten thousand they are lost and counted, and none takes long."""
    started = time.monotonic()
    for i in range(40_000):
        writer.handle(line(f"{i:05} " + "x" * 100))
    assert time.monotonic() - started < 60.0
    assert 0 < lost_lines() <= 30_000
    seen = b""
    while seen.count(b"\n") < 40_000 - lost_lines():
        seen += os.read(pipe[0], 1 << 20)
    numbers = [int(text[:5]) for text in seen.splitlines()]
    assert numbers == sorted(set(numbers))
    os.close(pipe[0])


def test_a_reader_that_went_away_ends_nothing(pipe, writer):
    """Its lines count as lost."""
    os.close(pipe[0])
    for i in range(10):
        writer.handle(line(str(i)))
    writer.flush()
    assert lost_lines() == 10
