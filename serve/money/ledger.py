"""Spending by key and model: available immediately, shared between processes through the store.

Each process keeps its own totals per quarter of an hour, key and model. Those that have changed are written to the
store in the transaction of the next decisions (`Writer`), or within a second. They are written as totals, not
increments, so a repeated write counts once; total spending is the sum over processes. The totals of the others are read
every second, so each process knows their spending with that delay. While the store is down it continues with the last
known totals.

In memory dollars are kept by key: by the quarter of an hour for some days, by the day before (`Spent`).
"""

import asyncio
import logging
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pointsman.core.errors import StoreError
from pointsman.core.periods import Per, Period, find_period
from pointsman.serve.money.spend_by_key import Spent
from pointsman.serve.policy.outage import Outage
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.request.record import Record

if TYPE_CHECKING:
    from pointsman.serve.store.rows import SpendRow

__all__ = ["SHADOW_KEY", "Ledger", "SpendStore"]

SHADOW_KEY = "shadow"  # under which comparisons are booked: no access key's id is like it
_LOG = logging.getLogger(__name__)
_SLOT_S = 900.0
_SYNC_S = 1.0
_RECENT_S = 2 * _SLOT_S  # what others may still be changing
_RELOAD_S = 300.0  # what others wrote late is found by then, if it is of yesterday or today
_ROWS_S = 3600.0  # what was written stays at hand for so long, to be written again
_Cell: TypeAlias = tuple[float, str, str]  # slot, key, model


class SpendStore(Protocol):
    """The part of the store that a ledger uses."""

    async def put_spend(self, rows: "Sequence[SpendRow]") -> None: ...

    async def spend(
        self, since: float, until: float | None = None, *, except_writer: str | None = None
    ) -> "list[SpendRow]": ...

    async def spent_by_key(
        self, since: float, until: float, *, except_writer: str | None = None
    ) -> dict[str, float]: ...


@dataclass(slots=True)
class _Amount:
    """Sums over some answers, and the name under which they are written."""

    writer: str
    n_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(slots=True)
class _Sum:
    """Dollars of one period by key; those of all keys under None."""

    period: Period
    usd: defaultdict[str | None, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, at: float, key: str, usd: float) -> None:
        if self.period.begin <= at < self.period.end:
            self.usd[None] += usd
            if key:
                self.usd[key] += usd


class Ledger:
    """Counts dollars by hour, day and month of a time zone; an observer of records, and a component.

    Attributes:
        writer: identifies this process among those that share the store; the names of its rows begin with it.
        n_failed: number of times that the store could not be reached.
        own_part: part of the last half hour's requests that were charged here, in (0, 1].
    """

    def __init__(
        self, store: SpendStore | None = None, *, zone: tzinfo = UTC, clock: Callable[[], float] = time.time
    ) -> None:
        """Starts at zero; `start` reads the store.

        Args:
            store: shares the totals; None keeps everything in this process.
            clock: seconds since 1970; it may jump.
        """
        self.writer = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self.n_failed = 0
        self._outage = Outage(_LOG, "spending could not be shared")
        self.own_part = 1.0
        self._store = store
        self._zone = zone
        self._clock = clock
        self._own, self._others = Spent(), Spent()
        self._rows: dict[_Cell, _Amount] = {}
        self._n_dropped = 0
        self._changed: set[_Cell] = set()
        self._own_requests: dict[float, int] = {}
        self._sums: dict[Per, _Sum] = {}
        self._own_sums: dict[Per, _Sum] = {}
        self._reloaded_at = -_RELOAD_S
        self._span = (0.0, 0.0)
        self._earlier: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def reconfigure(self, zone: tzinfo) -> None:
        """Uses the hours, days and months of `zone` from now on; days already summed up are kept."""
        if zone != self._zone:
            self._zone, self._sums, self._own_sums, self._reloaded_at = zone, {}, {}, -_RELOAD_S

    async def start(self) -> None:
        """Reads earlier spending, and keeps in sync with the other processes from now on."""
        if self._store is not None:
            await self.sync()
            self._task = asyncio.get_running_loop().create_task(self._keep_up())

    async def close(self) -> None:
        """Writes what has not been written yet."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await self.sync()

    def __call__(self, record: Record) -> None:
        """Counts the charges of a finished request."""
        if record.charges:
            key = record.context.key if record.context is not None else None
            for charge in record.charges:
                self.add(charge, key=key.id if key is not None else "")

    def add(self, charge: Charge, *, key: str = "") -> None:
        """Counts one charge now.

        Args:
            key: id of the access key; "" if no keys are required.
        """
        now, usd = self._clock(), charge.cost_usd or 0.0
        slot = now // _SLOT_S * _SLOT_S
        self._own.add(slot, key, usd)
        self._own.fold(now, self._zone)
        for total in (*self._sums.values(), *self._own_sums.values()):
            total.add(slot, key, usd)
        if self._store is not None:
            self._note((slot, key, charge.model), charge, usd)

    def spent_usd(self, period: Per, *, key: str | None = None) -> float:
        """Dollars spent by all processes, as far as known, since the current hour, day or month began.

        Args:
            key: id of the key whose spending counts; None for all keys.
        """
        return self._current(period, self._sums, (self._own, self._others)).usd.get(key, 0.0)

    def own_spent_usd(self, period: Per, *, key: str | None = None) -> float:
        """The part of `spent_usd` that this process spent."""
        return self._current(period, self._own_sums, (self._own,)).usd.get(key, 0.0)

    def period(self, period: Per) -> Period:
        """The current hour, day or month."""
        return find_period(period, self._clock(), self._zone)

    async def sync(self) -> None:
        """Writes changes from here and reads changes from elsewhere. Retries if the store cannot be reached."""
        if self._store is None:
            return
        try:
            rows = self.unwritten()
            await self._store.put_spend(rows)
            self.written(rows)
            self._drop_rows()
            await self._read_others(self._store)
            self._outage.over()
        except StoreError as error:
            self.n_failed += 1
            self._outage.failed(error)

    def unwritten(self) -> "list[SpendRow]":
        """The totals changed since they were written."""
        return [self._row(cell) for cell in sorted(self._changed)]

    def written(self, rows: "Sequence[SpendRow]") -> None:
        """These totals have been written; any that have changed since will be written again."""
        for row in rows:
            cell = row.at, row.key_id, row.model
            if cell in self._rows and self._rows[cell].n_requests == row.n_requests:
                self._changed.discard(cell)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            await self.sync()

    def _note(self, cell: _Cell, charge: Charge, usd: float) -> None:
        """Adds to a row that is to be written."""
        amount = self._rows.get(cell)
        if amount is None:
            amount = self._rows[cell] = _Amount(f"{self.writer}.{self._n_dropped}")
        amount.n_requests += 1
        amount.input_tokens += charge.usage.input_tokens
        amount.output_tokens += charge.usage.output_tokens
        amount.cost_usd += usd
        self._changed.add(cell)
        self._own_requests[cell[0]] = self._own_requests.get(cell[0], 0) + 1

    async def _read_others(self, store: SpendStore) -> None:
        now, elapsed = self._clock(), time.monotonic()
        month = find_period("month", now, self._zone).begin
        yesterday = find_period("day", find_period("day", now, self._zone).begin - 1.0, self._zone).begin
        everything = elapsed - self._reloaded_at >= _RELOAD_S or self._span != (month, yesterday)
        if self._span != (month, yesterday):
            self._earlier = await store.spent_by_key(month, yesterday, except_writer=self.writer)
            self._span = (month, yesterday)
        recent = (now - _RECENT_S) // _SLOT_S * _SLOT_S
        rows = await store.spend(min(yesterday, recent) if everything else recent, except_writer=self.writer)
        self._compare(sum(row.n_requests for row in rows if row.at >= recent), recent)
        if everything:
            self._others, self._sums, self._reloaded_at = Spent(), {}, elapsed
            for key, usd in self._earlier.items():
                self._others.add(month, key, usd)
        found: defaultdict[tuple[float, str], float] = defaultdict(float)
        for row in rows:
            found[row.at, row.key_id] += row.cost_usd
        for (at, key), usd in found.items():
            more = self._others.put(at, key, usd)
            for total in self._sums.values():
                total.add(at, key, more)

    def _compare(self, n_others: int, since: float) -> None:
        """Measures this process's part of the traffic; a process that has just started has little of it."""
        self._own_requests = {slot: n for slot, n in self._own_requests.items() if slot >= since}
        n_own = sum(self._own_requests.values()) + 1
        self.own_part = n_own / (n_own + n_others)

    def _current(self, period: Per, sums: dict[Per, _Sum], parts: Sequence[Spent]) -> _Sum:
        """The sum over the current period, kept in `sums` until the next begins."""
        total, now = sums.get(period), self._clock()
        if total is None or not total.period.begin <= now < total.period.end:
            total = sums[period] = _summed(find_period(period, now, self._zone), parts)
        return total

    def _row(self, cell: _Cell) -> "SpendRow":
        from pointsman.serve.store.rows import SpendRow  # of a store's ledger alone

        slot, key, model = cell
        amount = self._rows[cell]
        return SpendRow(
            writer=amount.writer,
            at=slot,
            key_id=key,
            model=model,
            n_requests=amount.n_requests,
            input_tokens=amount.input_tokens,
            output_tokens=amount.output_tokens,
            cost_usd=amount.cost_usd,
        )

    def _drop_rows(self) -> None:
        """Drops rows that have been written and will not change.

        If the clock is set back, further ones of that time are written under another name.
        """
        oldest = self._clock() - _ROWS_S
        old = [cell for cell in self._rows if cell[0] < oldest and cell not in self._changed]
        for cell in old:
            del self._rows[cell]
        self._n_dropped += bool(old)


def _summed(period: Period, parts: Sequence[Spent]) -> _Sum:
    total = _Sum(period)
    for spent in parts:
        for key, usd in spent.within(period).items():
            total.add(period.begin, key, usd)
    return total
