"""Hard budgets by leases: many processes in one event loop, each with a ledger and leases of its own, on one store."""

import asyncio
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pointsman.core.errors import StoreError
from pointsman.serve.config import StoreConfig
from pointsman.serve.money.leases import Leases
from pointsman.serve.money.ledger import Ledger
from pointsman.serve.policy.budget import LeaseTerms
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.store.store import Store

NOON = 1_790_000_000.0 // 86400 * 86400 + 43200
DAY = LeaseTerms("day", "day", None, 10.0)


class Accounts:
    """An account store in memory, which can be away."""

    def __init__(self):
        self.drawn = {}
        self.away = False
        self.n_draws = 0

    async def open_account(self, name, begin, drawn_usd):
        await self._answer()
        fresh = (name, begin) not in self.drawn
        self.drawn.setdefault((name, begin), drawn_usd)
        return fresh

    async def draw(self, name, begin, usd, *, ceiling_usd):
        await self._answer()
        self.n_draws += 1
        drawn = self.drawn[name, begin]
        granted = usd if ceiling_usd is None else min(usd, max(ceiling_usd - drawn, 0.0))
        self.drawn[name, begin] = drawn + granted
        return granted, drawn + granted

    async def _answer(self):
        await asyncio.sleep(0)
        if self.away:
            raise StoreError("store is away")


def process(accounts, clock=lambda: NOON):
    """A process: its ledger, its leases, and a way to spend."""
    ledger = Ledger(clock=clock)
    leases = Leases(ledger, accounts, registry=CollectorRegistry(), clock=clock)

    def spend(usd, key=""):
        ledger.add(Charge("big", Usage(1, 1), usd), key=key)

    return SimpleNamespace(ledger=ledger, leases=leases, spend=spend)


async def ask(at, terms, most_usd, usd, *, lasting=0):
    """One request: what it spent, or 0 where it was held back."""
    lease = at.leases.lease(terms)
    if not await lease.reserve(most_usd):
        return 0.0
    for _ in range(lasting):
        await asyncio.sleep(0)
    at.spend(usd)
    lease.release(most_usd)
    return usd


@settings(max_examples=40)
@given(
    n_processes=st.integers(1, 4),
    requests=st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 0.4), st.integers(0, 5)), max_size=150),
    syncs=st.lists(st.integers(0, 149), max_size=10),
    seed=st.integers(0, 99),
)
def test_no_more_is_spent_than_the_budget(n_processes, requests, syncs, seed):
    """However requests interleave over processes, the sum of what they cost stays within the ceiling."""
    accounts, rng = Accounts(), random.Random(seed)

    async def run():
        processes = [process(accounts) for _ in range(n_processes)]
        spent = 0.0
        for i in range(0, len(requests), 12):
            part = requests[i : i + 12]
            asked = (ask(processes[p % n_processes], DAY, most, most * rng.random(), lasting=n) for p, most, n in part)
            spent += sum(await asyncio.gather(*asked))
            if any(i <= at < i + 12 for at in syncs):
                await asyncio.gather(*(each.leases.sync() for each in processes))
        assert spent <= DAY.usd + 1e-9
        (drawn,) = accounts.drawn.values() or (0.0,)
        open_usd = sum(each.leases.lease(DAY).open_usd for each in processes)
        assert drawn == pytest.approx(spent + open_usd, abs=1e-6)
        for each in processes:
            await each.leases.lease(DAY).close()
        (drawn,) = accounts.drawn.values() or (0.0,)
        assert drawn == pytest.approx(spent, abs=1e-6)

    asyncio.run(run())


def test_what_a_killed_process_had_drawn_stays_drawn():
    """Nobody else can spend what a process that is gone had drawn: its last requests may still be charged."""
    accounts = Accounts()

    async def run():
        killed, other = process(accounts), process(accounts)
        lease = killed.leases.lease(DAY)
        assert [await lease.reserve(1.0) for _ in range(4)] == [True] * 4  # under way, never to end
        spent = [await ask(other, DAY, 1.0, 1.0) for _ in range(12)]
        assert sum(spent) == 6.0

    asyncio.run(run())


def test_without_the_store_a_budget_is_closed_or_open():
    """Once its lease is used up, a closed budget lets nothing more through; an open one books it when it can."""

    async def run(*, open_when_away):
        accounts = Accounts()
        terms = LeaseTerms("day", "day", None, 10.0, open_when_away)
        at = process(accounts)
        assert await ask(at, terms, 2.0, 2.0) == 2.0
        accounts.away = True
        spent = sum([await ask(at, terms, 1.0, 1.0) for _ in range(20)])
        await at.leases.sync()
        accounts.away = False
        await at.leases.sync()
        (drawn,) = accounts.drawn.values()
        assert drawn >= 2.0 + spent - 1e-9
        assert await ask(at, terms, 1.0, 1.0) == (0.0 if open_when_away else 1.0)
        return spent

    assert asyncio.run(run(open_when_away=False)) <= 1.0  # what was drawn ahead
    assert asyncio.run(run(open_when_away=True)) == 20.0


def test_a_budget_of_less_than_a_few_requests_lets_one_at_a_time_through():
    """A ceiling below the most that a request can cost is no ban: requests pass one by one until it is spent."""
    terms = LeaseTerms("day", "day", None, 0.05)

    async def run():
        at = process(None)
        lease = at.leases.lease(terms)
        assert await lease.reserve(0.1)
        assert not await lease.reserve(0.1)
        at.spend(0.03)
        lease.release(0.1)
        assert await ask(at, terms, 0.1, 0.03) == 0.03
        assert await ask(at, terms, 0.1, 0.03) == 0.0

    asyncio.run(run())


def test_what_is_spent_beside_a_lease_is_booked():
    """Spending that no reservation covers, such as the weak model's, is drawn at once, beyond the ceiling too."""
    accounts = Accounts()

    async def run():
        at, other = process(accounts), process(accounts)
        await ask(at, DAY, 1.0, 1.0)
        at.spend(12.0)
        await at.leases.sync()
        assert await ask(other, DAY, 0.5, 0.5) == 0.0

    asyncio.run(run())
    assert list(accounts.drawn.values()) == [13.0]


def test_a_new_period_has_an_account_of_its_own():
    """At midnight the whole ceiling is there again, less what is under way."""
    accounts, now = Accounts(), SimpleNamespace(at=NOON)

    async def run():
        at = process(accounts, clock=lambda: now.at)
        lease = at.leases.lease(DAY)
        assert [await lease.reserve(5.0) for _ in range(3)] == [True, True, False]
        now.at += 86400.0
        assert [await lease.reserve(5.0) for _ in range(2)] == [False, False]
        lease.release(5.0)
        lease.release(5.0)
        assert [await lease.reserve(5.0) for _ in range(3)] == [True, True, False]

    asyncio.run(run())
    assert len(accounts.drawn) == 2


def test_a_changed_ceiling_counts_what_was_spent():
    """A reload with another ceiling goes on with the same lease."""
    accounts = Accounts()

    async def run():
        at = process(accounts)
        assert [await ask(at, DAY, 0.5, 0.5) for _ in range(8)] == [0.5] * 8
        lower = LeaseTerms("day", "day", None, 5.0)
        assert [await ask(at, lower, 0.5, 0.5) for _ in range(4)] == [0.5, 0.5, 0.0, 0.0]

    asyncio.run(run())


def test_writes_do_not_grow_with_requests():
    """A thousand requests in a second cost a handful of draws, not a thousand."""
    accounts = Accounts()
    terms = LeaseTerms("day", "day", None, 1000.0)

    async def run():
        at = process(accounts)
        for _ in range(3):
            await asyncio.gather(*(ask(at, terms, 0.01, 0.01, lasting=1) for _ in range(300)))
            await at.leases.sync()
        before = accounts.n_draws
        for _ in range(1000):
            await ask(at, terms, 0.01, 0.005)
        await at.leases.sync()
        return accounts.n_draws - before

    assert asyncio.run(run()) <= 10


async def test_the_store_never_grants_more_than_there_is(store_url):
    """Draws at once, from a real database: their sum is the ceiling, and what is given back can be drawn again."""
    async with Store(StoreConfig(url=store_url)) as one, Store(StoreConfig(url=store_url)) as two:
        assert await one.open_account("day day", 1.0, 2.5)
        assert not await two.open_account("day day", 1.0, 0.0)
        draws = [store.draw("day day", 1.0, 0.7, ceiling_usd=10.0) for _ in range(8) for store in (one, two)]
        granted = [usd for usd, _ in await asyncio.gather(*draws)]
        assert sum(granted) == pytest.approx(7.5)
        assert all(usd <= 0.7 for usd in granted)
        assert await one.draw("day day", 1.0, 1.0, ceiling_usd=10.0) == (0.0, 10.0)
        assert (await two.draw("day day", 1.0, -2.0, ceiling_usd=None))[0] == -2.0
        assert (await one.draw("day day", 1.0, 3.0, ceiling_usd=10.0))[0] == pytest.approx(2.0)
        assert (await one.draw("day day", 1.0, 3.0, ceiling_usd=None)) == (3.0, pytest.approx(13.0))
        with pytest.raises(StoreError, match="account of budget other"):
            await one.draw("other", 1.0, 1.0, ceiling_usd=1.0)
