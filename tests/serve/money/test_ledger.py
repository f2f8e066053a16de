"""The ledger: totals by period and key, whatever the clock does, and shared between processes by way of the store."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import StoreError
from pointsman.core.periods import find_period
from pointsman.serve.config import StoreConfig
from pointsman.serve.money.ledger import Ledger
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.store.store import Store

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC).timestamp()
ZONES = [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/New_York")]


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


def charge(usd, model="big"):
    return Charge(model, Usage(100, 10), usd)


class Away:
    """A store that cannot be reached, until it can."""

    def __init__(self):
        self.is_away, self.rows = True, {}

    async def put_spend(self, rows):
        if self.is_away:
            raise StoreError("away")
        self.rows |= {(row.writer, row.at, row.key_id, row.model): row for row in rows}

    async def spend(self, since, until=None, *, except_writer=None):
        if self.is_away:
            raise StoreError("away")
        return []

    async def spent_by_key(self, since, until, *, except_writer=None):
        return {}


def test_another_zone_begins_its_days_elsewhere():
    """What was charged is counted in the new zone's day at once: an hour before midnight here is today there."""
    clock = Clock(NOON - 13 * 3600)  # 23:00 UTC of the day before
    ledger = Ledger(clock=clock)
    ledger.add(charge(2.0))
    clock.now = NOON
    assert ledger.spent_usd("day") == 0.0
    ledger.reconfigure(ZoneInfo("America/New_York"))
    assert ledger.spent_usd("day") == 0.0
    ledger.reconfigure(ZoneInfo("Asia/Kathmandu"))
    assert ledger.spent_usd("day") == 2.0


moments = st.integers(-40 * 96, 40 * 96).map(lambda quarter: NOON + 900 * quarter + 17.3)


@given(st.lists(st.tuples(moments, st.sampled_from(["", "k1", "k2"]), st.integers(0, 1000)), max_size=30), st.data())
def test_totals_are_those_of_the_calendar_however_the_clock_jumps(charges, data):
    """Hour, day and month of the zone hold what was charged in them, forth and back in time, by key and in all."""
    clock, zone = Clock(), data.draw(st.sampled_from(ZONES))
    ledger, booked = Ledger(zone=zone, clock=clock), defaultdict(float)
    for at, key, cents in charges:
        clock.now = at
        ledger.add(charge(cents / 100), key=key)
        for per in ("hour", "day", "month"):
            period = find_period(per, at, zone)
            for whose in {None, key or None}:
                booked[per, period.begin, whose] += cents / 100
            for whose in (None, "k1"):
                assert ledger.spent_usd(per, key=whose) == pytest.approx(booked[per, period.begin, whose])


def test_a_new_day_begins_at_nothing():
    """At midnight of the zone, not of UTC, the day's spending is zero; the month's goes on."""
    clock = Clock(datetime(2026, 3, 10, 23, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    ledger = Ledger(zone=ZoneInfo("Europe/Berlin"), clock=clock)
    ledger.add(charge(1.0))
    assert ledger.spent_usd("day") == 1.0
    clock.now += 1800
    assert (ledger.spent_usd("day"), ledger.spent_usd("month")) == (0.0, 1.0)


def test_models_without_a_price_count_as_nothing():
    """What is not known to cost anything is no spending; its tokens are kept."""
    ledger = Ledger(clock=Clock())
    ledger.add(charge(None))
    assert ledger.spent_usd("day") == 0.0


@pytest.mark.parametrize("zone", ZONES[2:])
async def test_memory_is_bounded_with_and_without_a_store(zone):
    """A month of charges in every quarter of an hour ends in hundreds of numbers a key, and no sum is lost."""
    store, clock = Away(), Clock(datetime(2026, 2, 20, tzinfo=UTC).timestamp())
    store.is_away = False
    for ledger in (Ledger(zone=zone, clock=clock), Ledger(store, zone=zone, clock=clock)):
        clock.now, booked = datetime(2026, 2, 20, tzinfo=UTC).timestamp(), defaultdict(float)
        for i in range(39 * 96):
            periods = [(per, find_period(per, clock.now, zone)) for per in ("hour", "day", "month")]
            for key in ("k1", "k2"):
                ledger.add(charge(0.5), key=key)
            for per, period in periods:
                booked[per, period] += 1.0
            if i % 7 == 0:
                await ledger.sync()
                assert [ledger.spent_usd(per) for per, _ in periods] == [booked[each] for each in periods]
            clock.now += 900
        assert ledger.spent_usd("month", key="k2") == booked["month", find_period("month", clock.now - 1, zone)] / 2
        assert len(ledger._own) <= 400
        assert len(ledger._rows) <= 24


async def test_a_clock_set_back_overwrites_nothing(store):
    """What is charged in a time whose rows were let go of is written beside them."""
    clock = Clock()
    ledger = Ledger(store, clock=clock)
    for hours in (0, 5, 0, 5, 0):
        clock.now = NOON + 3600 * hours
        ledger.add(charge(1.0))
        await ledger.sync()
    assert [(row.at, row.cost_usd) for row in await store.spend(0.0)] == [(NOON, 3.0), (NOON + 5 * 3600, 2.0)]
    assert ledger.spent_usd("day") == 5.0


async def test_what_others_spent_before_yesterday_is_read_as_a_sum(store):
    """A month of another's quarters of an hour counts in the month, by key, however late it is looked at."""
    clock = Clock(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    other, ledger = Ledger(store, clock=clock), Ledger(store, clock=clock)
    for _ in range(20):
        other.add(charge(1.0), key="k1")
        other.add(charge(0.5, "small"), key="k1")
        await other.sync()
        clock.now += 86_400 - 900
    clock.now -= 86_400 - 900
    await ledger.sync()
    assert [ledger.spent_usd("month", key=key) for key in (None, "k1", "k2")] == [30.0, 30.0, 0.0]
    assert ledger.spent_usd("day") == 1.5
    assert len(ledger._others) <= 3
    clock.now += 86_400
    other.add(charge(1.0), key="k1")
    await other.sync()
    await ledger.sync()
    assert (ledger.spent_usd("day"), ledger.spent_usd("month")) == (1.0, 31.0)


@pytest.fixture
async def store(store_url):
    async with Store(StoreConfig(url=store_url)) as opened:
        yield opened


async def test_replicas_know_what_the_others_spent(store):
    """After both have synchronised, each knows the sum, however often they do; keys are told apart."""
    clock = Clock()
    one, two = Ledger(store, clock=clock), Ledger(store, clock=clock)
    await one.start()
    await two.start()
    for _ in range(3):
        one.add(charge(1.0), key="k1")
        two.add(charge(0.25, "small"), key="k2")
        for ledger in (one, two, one, one):
            await ledger.sync()
        assert one.spent_usd("day") == two.spent_usd("day")
    assert one.spent_usd("month") == pytest.approx(3.75)
    assert (one.spent_usd("hour", key="k2"), two.spent_usd("hour", key="k1")) == (0.75, 3.0)
    await one.close()
    await two.close()


async def test_a_restart_forgets_nothing(store):
    """A process that starts anew finds what was spent this month, its own former self's spending included."""
    clock = Clock()
    before = Ledger(store, clock=clock)
    await before.start()
    before.add(charge(2.0), key="k1")
    clock.now += 2 * 86_400
    before.add(charge(1.0))
    await before.close()
    after = Ledger(store, clock=clock)
    await after.start()
    assert (after.spent_usd("day"), after.spent_usd("month"), after.spent_usd("month", key="k1")) == (1.0, 3.0, 2.0)
    await after.close()


async def test_many_writers_at_once_lose_nothing(store):
    """Ten ledgers that charge and synchronise at the same time all end up with the sum."""
    clock = Clock()
    ledgers = [Ledger(store, clock=clock) for _ in range(10)]

    async def spend(ledger):
        for _ in range(10):
            ledger.add(charge(0.01))
            await ledger.sync()

    await asyncio.gather(*map(spend, ledgers))
    for ledger in ledgers:
        await ledger.sync()
        assert ledger.spent_usd("day") == pytest.approx(1.0)


async def test_a_store_that_is_away_loses_nothing():
    """Spending is counted on, the failures too; when the store is back it gets everything, once."""
    store, clock = Away(), Clock()
    ledger = Ledger(store, clock=clock)
    await ledger.start()
    for _ in range(5):
        ledger.add(charge(1.0))
        await ledger.sync()
    assert ledger.spent_usd("day") == 5.0
    assert ledger.n_failed == 6
    store.is_away = False
    await ledger.close()
    assert [row.cost_usd for row in store.rows.values()] == [5.0]
    assert [row.n_requests for row in store.rows.values()] == [5]
