"""The circuit breaker of an upstream."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.upstreams.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_failures_in_a_row_open_it_and_one_success_closes_it():
    """It opens at the limit and not before, and a success in between begins the count anew."""
    breaker = Breaker(failures=3, open_s=10.0, clock=Clock())
    for outcome in "ffsff":
        breaker.fail() if outcome == "f" else breaker.succeed()
        assert breaker.allow()
    breaker.fail()
    assert breaker.is_open
    assert not breaker.allow()
    assert breaker.retry_after_s() == 10.0


def test_after_the_pause_one_call_at_a_time_may_try():
    """Until it is answered, or the pause has passed again without any word of it."""
    clock = Clock()
    breaker = Breaker(failures=1, open_s=10.0, clock=clock)
    breaker.fail()
    clock.now = 10.0
    assert not breaker.is_open
    assert [breaker.allow() for _ in range(100)] == [True] + [False] * 99
    assert breaker.retry_after_s() == 10.0
    clock.now = 20.0
    assert [breaker.allow() for _ in range(2)] == [True, False]
    breaker.fail()
    clock.now = 29.0
    assert not breaker.allow()
    clock.now = 30.0
    assert breaker.allow()
    breaker.succeed()
    assert all(breaker.allow() for _ in range(100))


def test_an_answer_that_has_begun_closes_it_until_it_breaks():
    """A stream that answers at all is a reason to ask again, and none to forget how often streams have broken."""
    breaker = Breaker(failures=2, open_s=10.0, clock=Clock())
    breaker.fail()
    breaker.fail()
    breaker.respond()
    assert breaker.allow()
    breaker.fail()
    assert breaker.is_open


@given(st.integers(1, 4), st.lists(st.sampled_from(["ask", "fail", "respond", "succeed", "wait"])))
def test_it_is_open_exactly_where_a_call_would_be_refused(failures, events):
    """What is shown as open refuses, and what is not lets a call pass: nobody waits for word of a call nobody makes."""
    clock = Clock()
    breaker = Breaker(failures=failures, open_s=2.0, clock=clock)
    for event in events:
        if event == "ask":
            breaker.allow()
        elif event == "wait":
            clock.now += 1.0
        else:
            getattr(breaker, event)()
    shown = breaker.is_open
    assert breaker.allow() is not shown
    assert (breaker.retry_after_s() > 0) >= shown


def test_one_request_sent_again_and_again_is_one():
    """What fails by its own fault, however often it is sent, does not open it; a second request that fails does."""
    breaker = Breaker(failures=3, open_s=10.0, clock=Clock())
    for _ in range(50):
        breaker.fail("a", "poison")
    assert breaker.allow()
    breaker.fail("a", "another")
    assert breaker.is_open


def test_one_caller_does_not_open_it_while_others_are_answered():
    """Failures of one caller count once another one's request fails too, or nobody else was answered of late."""
    clock = Clock()
    breaker = Breaker(failures=3, open_s=10.0, clock=clock)
    breaker.succeed("b")
    for i in range(50):
        breaker.fail("a", i)
    assert breaker.allow()
    breaker.fail("b", "x")
    assert breaker.is_open
    alone = Breaker(failures=3, open_s=10.0, clock=clock)
    alone.succeed("b")
    clock.now += 61.0
    for i in range(3):
        alone.fail("a", i)
    assert alone.is_open


def test_a_circuit_that_one_caller_opened_is_open_for_that_caller_alone():
    """Others find out for themselves: their success closes it, their failure opens it for all."""
    for outcome in ("succeed", "fail"):
        breaker = Breaker(failures=3, open_s=10.0, clock=Clock())
        for i in range(3):
            breaker.fail("a", i)
        assert not breaker.allow("a")
        assert breaker.allow("b")
        getattr(breaker, outcome)("b")
        assert [breaker.allow(caller) for caller in "abc"] == [outcome == "succeed"] * 3
