"""Observers that see records some at a time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.protocols.requests import make_question
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.record import Record
from pointsman.serve.request.together import Together


@given(st.lists(st.sampled_from(["record", "flush"]), max_size=100))
def test_each_observer_sees_every_record_once_and_in_order(steps):
    """Whatever comes between them; after a flush nothing waits."""

    async def live():
        seen: list[list[int]] = [[], []]
        together = Together(InStep(), *(lambda record, own=own: own.append(int(record.id)) for own in seen))
        n = 0
        for step in steps:
            if step == "record":
                together(Record(str(n), "/"))
                n += 1
            else:
                together.flush()
                assert seen[0] == list(range(n))
        await together.close()
        assert seen == [list(range(n))] * 2

    asyncio.run(live())


async def test_a_single_record_does_not_wait_for_others():
    """A moment later its observers have seen it, though no other request comes."""
    shown = asyncio.Event()
    together = Together(InStep(), lambda record: shown.set())
    together(Record("alone", "/"))
    await asyncio.wait_for(shown.wait(), 60.0)


async def test_a_long_request_is_not_held_on_to():
    """What has a body of megabytes is shown at once."""
    seen = []
    together = Together(InStep(), seen.append)
    together(Record("short", "/", context=RequestContext(make_question("Hi", "auto", body=b"x"))))
    assert not seen
    together(Record("long", "/", context=RequestContext(make_question("Hi", "auto", body=b"x" * 2**20))))
    assert [record.id for record in seen] == ["short", "long"]


@pytest.mark.parametrize(("n_serving", "most"), [(1, 8), (2, 8), (3, 32), (100, 32)])
async def test_batches_are_long_only_in_a_crowd(n_serving, most):
    """One client's next request waits for a few records at most; a crowd's are passed on by the dozen."""
    in_step, seen = InStep(), []
    in_step.n_serving = n_serving
    together = Together(in_step, seen.append)
    batches = []
    for number in range(64):
        before = len(seen)
        together(Record(str(number), "/"))
        if len(seen) > before:
            batches.append(len(seen) - before)
    assert batches == [most] * (64 // most)


async def test_a_batch_is_timed_from_its_own_first_record(monkeypatch):
    """The timer of a batch that was passed on before its time does not pass on the next one."""
    loop, timers = asyncio.get_running_loop(), []
    monkeypatch.setattr(
        loop, "call_later", lambda _, flush: timers.append(asyncio.Handle(flush, (), loop)) or timers[-1]
    )
    seen = []
    together = Together(InStep(), seen.append)
    for number in range(9):
        together(Record(str(number), "/"))
    assert [timer.cancelled() for timer in timers] == [True, False]
    assert len(seen) == 8
    timers[-1]._run()
    assert len(seen) == 9
