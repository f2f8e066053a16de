"""Threads that share a graph take turns, in the order in which they came."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pointsman.backends.onnx.turns import Turns

from support.processes import wait_until


def test_first_come_first_served():
    """One that leaves and comes again at once waits behind all that wait already."""
    turns, order = Turns(1), []

    def come(name):
        with turns:
            order.append(name)

    with ThreadPoolExecutor(6) as pool:
        with turns:
            order.append("first")
            for n in range(5):
                pool.submit(come, n)
                wait_until(lambda n=n: turns.n_waiting == n + 1)
        come("first again")
    assert order == ["first", 0, 1, 2, 3, 4, "first again"]


@pytest.mark.parametrize("n_at_a_time", [1, 3])
def test_no_more_at_a_time(n_at_a_time):
    """However many come, so many are in; in the end nobody waits, and as many can come in as before."""
    turns, guard, inside, most = Turns(n_at_a_time), threading.Lock(), [0], [0]

    def come(_):
        with turns:
            with guard:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with guard:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come, range(400)))
    assert 1 <= most[0] <= n_at_a_time
    assert (turns.n_waiting, turns.n_free) == (0, n_at_a_time)


def test_an_error_ends_a_turn():
    """The next one is let in."""
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), turns:
        raise ZeroDivisionError
    with turns:
        assert turns.n_free == 0


@pytest.mark.parametrize("is_let_in", [False, True])
def test_one_that_is_interrupted_takes_no_turn_along(monkeypatch, is_let_in):
    """Ctrl-C while waiting, be it just as one is let in, leaves the turn to others."""
    turns = Turns(1)

    class Interrupted:
        """A lock on which a second `acquire` is interrupted."""

        def __init__(self):
            self.is_taken = False

        def acquire(self):
            if self.is_taken:
                if is_let_in:
                    turns.__exit__()
                raise KeyboardInterrupt
            self.is_taken = True

        def release(self):
            assert is_let_in

    turns.__enter__()
    monkeypatch.setattr("pointsman.backends.onnx.turns.Lock", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        turns.__enter__()
    assert (turns.n_waiting, turns.n_free) == (0, int(is_let_in))
