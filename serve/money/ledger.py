"""What was spent, by whom and on which model: at hand at once, and shared between processes by way of the store.

Each process keeps its own totals per quarter of an hour, key and model, and writes those that have changed to the store
about once a second. There they stand as totals, not as increments, so that a write that is repeated counts once; what
was spent is the sum over processes. What the others have spent is read back in the same breath. So each process knows
of the others' spending with a second's delay, and while the store is away it goes on with what it last knew.
"""

import asyncio
import logging
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Protocol, TypeAlias

from pointsman.core.errors import StoreError
from pointsman.core.periods import Per, Period, find_period
from pointsman.serve.money.usage import Charge
from pointsman.serve.record import Record
from pointsman.serve.store.rows import SpendRow

__all__ = ["Ledger", "SpendStore"]

_LOG = logging.getLogger(__name__)
_SLOT_S = 900.0
_SYNC_S = 1.0
_RECENT_S = 2 * _SLOT_S  # what others may still be changing
_RELOAD_S = 300.0  # what others wrote late is found by then
_KEPT_S = 32 * 86_400.0
_Cell: TypeAlias = tuple[float, str, str]  # slot, key, model


class SpendStore(Protocol):
    """What a ledger needs of the store."""

    async def put_spend(self, rows: Sequence[SpendRow]) -> None: ...

    async def spend(
        self, since: float, until: float | None = None, *, except_writer: str | None = None
    ) -> list[SpendRow]: ...


@dataclass(slots=True)
class _Amount:
    """Sums over some answers."""

    n_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(slots=True)
class _Sum:
    """Dollars of one period by key; of all keys under None."""

    period: Period
    usd: defaultdict[str | None, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, key: str, usd: float) -> None:
        self.usd[None] += usd
        if key:
            self.usd[key] += usd


class Ledger:
    """Counts dollars by hour, day and month of a time zone; an observer of records, and a keeper.

    Attributes:
        writer: this process, among those that share the store.
        n_failed: times that the store could not be reached.
        own_part: part of the last half hour's requests that were charged here, in (0, 1].
    """

    def __init__(
        self, store: SpendStore | None = None, *, zone: tzinfo = UTC, clock: Callable[[], float] = time.time
    ) -> None:
        """Starts at zero; what the store knows is read in `start`.

        Args:
            store: None keeps everything in this process.
            clock: seconds since 1970; it may jump.
        """
        self.writer = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self.n_failed = 0
        self.own_part = 1.0
        self._store = store
        self._zone = zone
        self._clock = clock
        self._own: defaultdict[_Cell, _Amount] = defaultdict(_Amount)
        self._others: dict[_Cell, float] = {}
        self._changed: set[_Cell] = set()
        self._own_requests: dict[float, int] = {}
        self._sums: dict[Per, _Sum] = {}
        self._reloaded_at = -_RELOAD_S
        self._task: asyncio.Task[None] | None = None

    def show(self, zone: tzinfo) -> None:
        """Begins hours, days and months as in `zone` from now on."""
        if zone != self._zone:
            self._zone, self._sums, self._reloaded_at = zone, {}, -_RELOAD_S

    async def start(self) -> None:
        """Reads what was spent before, and keeps up with the other processes from now on."""
        if self._store is not None:
            await self.sync()
            self._task = asyncio.get_running_loop().create_task(self._keep_up())

    async def close(self) -> None:
        """Writes what is not written yet."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await self.sync()

    def __call__(self, record: Record) -> None:
        """Counts what a request that has ended was charged."""
        if record.charges:
            key = record.exchange.key if record.exchange is not None else None
            for charge in record.charges:
                self.add(charge, key=key.id if key is not None else "")

    def add(self, charge: Charge, *, key: str = "") -> None:
        """Counts one charge now.

        Args:
            key: whose request it was; "" where no keys are asked for.
        """
        now, usd = self._clock(), charge.cost_usd or 0.0
        cell = (now // _SLOT_S * _SLOT_S, key, charge.model)
        amount = self._own[cell]
        amount.n_requests += 1
        self._own_requests[cell[0]] = self._own_requests.get(cell[0], 0) + 1
        amount.input_tokens += charge.usage.input_tokens
        amount.output_tokens += charge.usage.output_tokens
        amount.cost_usd += usd
        self._changed.add(cell)
        for total in self._sums.values():
            if total.period.begin <= cell[0] < total.period.end:
                total.add(key, usd)

    def spent_usd(self, period: Per, *, key: str | None = None) -> float:
        """Dollars spent since the current hour, day or month began, by all processes as far as is known.

        Args:
            key: id of the key whose spending counts; None for everyone's.
        """
        total = self._sums.get(period)
        now = self._clock()
        if total is None or not total.period.begin <= now < total.period.end:
            total = self._sums[period] = self._summed(find_period(period, now, self._zone))
        return total.usd.get(key, 0.0)

    async def sync(self) -> None:
        """Writes what has changed here and reads what has changed elsewhere. A store that is away is tried again."""
        if self._store is None:
            return
        changed, self._changed = self._changed, set()
        try:
            await self._store.put_spend([self._row(cell) for cell in changed])
            changed = set()
            await self._read_others()
        except StoreError as error:
            self.n_failed += 1
            _LOG.warning("spending could not be shared, which is tried again: %s", error)
        finally:
            self._changed |= changed

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            await self.sync()

    async def _read_others(self) -> None:
        assert self._store is not None
        now, elapsed = self._clock(), time.monotonic()
        everything = elapsed - self._reloaded_at >= _RELOAD_S
        since = find_period("month", now, self._zone).begin if everything else now - _RECENT_S
        rows = await self._store.spend(since, except_writer=self.writer)
        if everything:
            self._others, self._reloaded_at = {}, elapsed
            self._forget()
        recent = (now - _RECENT_S) // _SLOT_S * _SLOT_S
        self._compare(sum(row.n_requests for row in rows if row.at >= recent), recent)
        before = [self._others.get(_cell(row), 0.0) for row in rows]
        self._others.update((_cell(row), row.cost_usd) for row in rows)
        if everything or any(row.cost_usd != usd for row, usd in zip(rows, before, strict=True)):
            self._sums = {per: self._summed(find_period(per, now, self._zone)) for per in self._sums}

    def _compare(self, n_others: int, since: float) -> None:
        """Finds out how much of the traffic is here; a process that has just begun has little of it."""
        self._own_requests = {slot: n for slot, n in self._own_requests.items() if slot >= since}
        n_own = sum(self._own_requests.values()) + 1
        self.own_part = n_own / (n_own + n_others)

    def _summed(self, period: Period) -> _Sum:
        total = _Sum(period)
        for (slot, key, _), usd in self._all():
            if period.begin <= slot < period.end:
                total.add(key, usd)
        return total

    def _all(self) -> Iterator[tuple[_Cell, float]]:
        yield from ((cell, amount.cost_usd) for cell, amount in self._own.items())
        yield from self._others.items()

    def _row(self, cell: _Cell) -> SpendRow:
        slot, key, model = cell
        amount = self._own[cell]
        return SpendRow(
            writer=self.writer,
            at=slot,
            key_id=key,
            model=model,
            n_requests=amount.n_requests,
            input_tokens=amount.input_tokens,
            output_tokens=amount.output_tokens,
            cost_usd=amount.cost_usd,
        )

    def _forget(self) -> None:
        """Lets go of what no period can need any more: the longest is a month."""
        oldest = self._clock() - _KEPT_S
        for cell in [cell for cell in self._own if cell[0] < oldest and cell not in self._changed]:
            del self._own[cell]


def _cell(row: SpendRow) -> _Cell:
    return row.at, row.key_id, row.model
