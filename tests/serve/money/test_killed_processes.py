"""What budgets know of processes that were killed: all that their stored decisions cost."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import CollectorRegistry

from pointsman.serve.config import StoreConfig
from pointsman.serve.money.ledger import Ledger
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.rows import DecisionRow
from pointsman.serve.store.store import Store
from pointsman.serve.store.writer import Writer

NOON = 1_767_268_800.0  # on 1 January 2026, in UTC


class Process:
    """The ledger and the writer of one process; its turns come when the test says so."""

    def __init__(self, store):
        self.ledger = Ledger(store, clock=lambda: NOON)
        self.writer = Writer(store, metrics=StoreMetrics(CollectorRegistry()))
        self.writer.spending = self.ledger
        self.booked = 0.0

    def answer(self, key, usd):
        """A request has ended."""
        self.ledger.add(Charge("big", Usage(1, 1), usd), key=key)
        self.writer.put(DecisionRow(id=new_row_id(NOON), at=NOON, request_id="r", path="/", key_id=key, cost_usd=usd))
        self.booked += usd

    async def write(self):
        """The writer's turn."""
        await self.writer._write(list(self.writer._queue))


class KilledProcesses(RuleBasedStateMachine):
    """Two processes on one store answer, write, and are killed and replaced in any order."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.store = Store(StoreConfig(url=f"sqlite:///{Path(self.folder.name) / 'store.db'}"))
        self.loop.run_until_complete(self.store.start())
        self.processes = [Process(self.store), Process(self.store)]
        self.charged = 0.0

    @rule(i=st.integers(0, 1), key=st.sampled_from(["", "k"]), cents=st.integers(0, 300))
    def answer(self, i, key, cents):
        self.processes[i].answer(key, cents / 100)
        self.charged += cents / 100

    @rule(i=st.integers(0, 1))
    def write(self, i):
        self.loop.run_until_complete(self.processes[i].write())

    @rule(i=st.integers(0, 1))
    def sync(self, i):
        self.loop.run_until_complete(self.processes[i].ledger.sync())

    @rule(i=st.integers(0, 1))
    def kill(self, i):
        self.processes[i] = Process(self.store)
        self.loop.run_until_complete(self.processes[i].ledger.sync())

    @invariant()
    def what_was_stored_is_known(self):
        if hasattr(self, "store"):
            self.loop.run_until_complete(self.check())

    async def check(self):
        stored = sum(row.cost_usd for row in await self.store.decisions(limit=1000))
        fresh = Ledger(self.store, clock=lambda: NOON)
        await fresh.sync()
        known = fresh.spent_usd("day")
        assert stored - 1e-6 <= known <= self.charged + 1e-6
        for process in self.processes:
            assert process.ledger.own_spent_usd("day") == pytest.approx(process.booked)

    def teardown(self):
        if hasattr(self, "store"):
            self.loop.run_until_complete(self.store.close())
            self.loop.close()
            self.folder.cleanup()


TestKilledProcesses = KilledProcesses.TestCase
TestKilledProcesses.settings = settings(max_examples=5, stateful_step_count=10, deadline=None)


async def test_totals_that_arrive_late_replace_no_newer_ones(store_url):
    """Two transactions of a process may end in either order: the later totals stay."""
    async with Store(StoreConfig(url=store_url)) as store:
        process = Process(store)
        process.answer("", 1.0)
        older = process.ledger.unwritten()
        process.answer("", 2.0)
        await store.add([], process.ledger.unwritten())
        await store.put_spend(older)
        process.ledger.written(older)
        assert process.ledger.unwritten()[0].cost_usd == 3.0
        assert [row.cost_usd for row in await store.spend(0.0)] == [3.0]
