"""The table by which the workers of one server agree on the models of conversations."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pointsman.serve.request import worker_sessions
from pointsman.serve.request.worker_sessions import WorkerSessions

names = st.sampled_from(["big", "small", "m" * 100, "größer"])
sessions = st.sampled_from([f"s{i}" for i in range(6)])


def find(table, session):
    return asyncio.run(table.find(session))


class Behind:
    """What servers share, as a dictionary."""

    def __init__(self):
        self.models = {}

    async def find(self, session):
        return self.models.get(session)

    def put(self, session, model, *, is_told=False):
        self.models[session] = model


class TwoWorkers(RuleBasedStateMachine):
    """Two workers, one table: a dictionary with times is what they must show."""

    @initialize()
    def begin(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.now, self.told = 1e9, {}
        make = lambda: WorkerSessions(self.folder.name, ttl_s=10.0, clock=lambda: self.now)  # noqa: E731
        self.workers = [make(), make()]

    @rule(worker=st.integers(0, 1), session=sessions, model=names)
    def put(self, worker, session, model):
        self.workers[worker].put(session, model)
        if len(model.encode()) < 100:
            self.told[session] = (model, self.now)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def both_know_what_either_was_told(self):
        for session in [f"s{i}" for i in range(6)]:
            model, at = self.told.get(session, (None, self.now))
            expected = model if self.now - at <= 10.0 else None
            assert [find(worker, session) for worker in self.workers] == [expected] * 2

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestTwoWorkers = TwoWorkers.TestCase
TestTwoWorkers.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_what_the_table_does_not_know_is_asked_behind(tmp_path):
    """Servers agree by the store; each worker's news reaches it, and wins over it."""
    behind = Behind()
    table = WorkerSessions(tmp_path, ttl_s=10.0, behind=behind)
    behind.models["elsewhere"] = "big"
    table.put("here", "small")
    assert (find(table, "elsewhere"), find(table, "here")) == ("big", "small")
    assert behind.models["here"] == "small"
    behind.models["here"] = "old"
    assert find(table, "here") == "small"


def test_a_full_table_forgets_the_oldest(tmp_path, monkeypatch):
    """The latest conversations stay."""
    monkeypatch.setattr(worker_sessions, "_BUCKETS", 1)
    now = iter(range(1000))
    table = WorkerSessions(tmp_path, ttl_s=1e6, clock=lambda: next(now))
    for i in range(20):
        table.put(f"s{i}", "big")
    assert [find(table, f"s{i}") for i in range(20)] == [None] * 12 + ["big"] * 8


@pytest.mark.parametrize("place", [0, 5, 25, 40])
def test_a_slot_that_is_half_written_is_empty(tmp_path, place):
    """A worker that dies while it writes leaves no wrong model."""
    table = WorkerSessions(tmp_path, ttl_s=1e6)
    table.put("s", "big")
    begin = next(where for where, _, at, _ in table._bucket(worker_sessions._key("s")) if at)
    table._table[begin + place] ^= 1
    assert find(table, "s") is None
