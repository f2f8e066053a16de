"""What is said of one request: its id and its times."""

import itertools

import pytest

from pointsman.serve.observers.live_row import live_row
from pointsman.serve.request.ids import first_row_id, new_row_id, request_id
from pointsman.serve.request.record import Record

NO_HEADERS = {"headers": ()}


def timed():
    """A request whose body came half a second after its head, decided in 1 ms, answered 2 s later."""
    return Record(
        "r", "/v1/chat/completions", started_at=1.0, received_at=1.5, routing_s=0.001, decided_at=1.502,
        answered_at=3.502, ended_at=4.0,
    )  # fmt: skip


def test_times_add_up():
    """From the whole body to the first byte everything is decision, upstream or overhead; a slow client is neither."""
    record = timed()
    assert record.routing_ms + record.upstream_ms + record.overhead_ms == pytest.approx(2002.0)
    assert (record.overhead_ms, record.upstream_ms, record.total_ms) == pytest.approx((1.0, 2000.0, 3000.0))


def test_the_dashboard_shows_the_same_times():
    """What the dashboard calls overhead is what the metric measures."""
    record, seen = timed(), live_row(timed(), number=1, prompts=False)
    assert [seen[f"{part}_ms"] for part in ("routing", "upstream", "overhead", "total")] == [
        record.routing_ms, record.upstream_ms, 1e3 * record.overhead_s, record.total_ms,
    ]  # fmt: skip


def test_what_did_not_happen_took_no_time():
    """A request that was refused has no times but its whole."""
    record = Record("r", "/", ended_at=None)
    assert (record.routing_ms, record.upstream_ms, record.overhead_ms) == (None, None, None) and record.total_ms >= 0.0


def test_new_ids_differ_and_begin_with_the_time(monkeypatch):
    """No two requests are given one id, and what came in a later millisecond sorts later."""
    now = itertools.count(1_700_000_000_000_000_000, 100_000)
    monkeypatch.setattr("pointsman.serve.request.ids.time_ns", lambda: next(now))
    ids = [request_id(NO_HEADERS) for _ in range(2000)]
    assert len(set(ids)) == 2000 and {len(each) for each in ids} == {28}
    assert ids[::10] == sorted(ids[::10])


def test_row_ids_of_one_millisecond_keep_their_order():
    """Rows sort by their time, and those of one process and millisecond in the order in which they were made."""
    ids = [new_row_id(at) for at in (1.7e9, 1.7e9, 1.7e9 + 2e-4, *[1.7e9 + 0.005] * 3000, 1.7e9 + 1)]
    assert ids == sorted(set(ids)) and {len(each) for each in ids} == {28}
    assert ids[2] < first_row_id(1.7e9 + 0.001) <= ids[3]
