"""Writes rows in batches, off the request path."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from pointsman.core.counted import counted
from pointsman.core.errors import StoreError
from pointsman.serve.store.database import RowError
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.rows import DecisionRow, Row, SpendRow
from pointsman.serve.store.store import Store

__all__ = ["Writer"]

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_REMIND_S = 60.0


class Spending(Protocol):
    """Totals that are to be written; see `money/ledger.py`."""

    def unwritten(self) -> Sequence[SpendRow]: ...

    def written(self, rows: Sequence[SpendRow]) -> None: ...


class Writer:
    """A bounded queue of rows before a store.

    While the database is down, rows wait and are retried; when the queue is full the newest are dropped and counted. A
    row that is retried after a lost reply is stored once.

    Attributes:
        n_lost: rows that will never be written.
        spending: is written with the rows, so that a killed process leaves what its decisions cost; None if none is.
    """

    def __init__(self, store: Store, *, metrics: StoreMetrics) -> None:
        """Writes nothing before `start`."""
        self.n_lost = 0
        self.spending: Spending | None = None
        self._store = store
        self._config = store.config
        self._metrics = metrics
        self._queue: deque[Row] = deque()
        self._n_bytes = 0
        self._ready = asyncio.Event()  # the first row of a batch, or the last
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._health = _Health(metrics)

    async def start(self) -> None:
        """Begins to write."""
        self._closing.clear()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Writes what is queued, for at most `drain_s`; what is left then is lost, counted and logged."""
        if self._task is None:
            return
        self._closing.set()
        self._ready.set()
        await asyncio.wait([self._task], timeout=self._config.drain_s)
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        if self._queue:
            left = counted(len(self._queue), "row was", "rows were")
            _LOG.error("%s not written to the store within %g s", left, self._config.drain_s)
            self._lose(len(self._queue), "stopped")
            self._drop(len(self._queue))

    def put(self, row: Row) -> None:
        """Queues a row, or loses it where the queue is full; returns at once."""
        n_bytes = _n_bytes(row)
        if len(self._queue) >= self._config.queue_rows or self._n_bytes + n_bytes > self._config.queue_bytes:
            self._lose(1, "full")
            return
        self._queue.append(row)
        self._n_bytes += n_bytes
        if len(self._queue) in (1, self._config.batch_rows):
            self._ready.set()

    def decision(self, request_id: str, *, key_id: str | None = None) -> DecisionRow | None:
        """The newest decision on a request with that id among the rows still to be written, or None.

        Args:
            key_id: whose request it must be; anyone's if None.
        """
        for row in reversed(self._queue):
            if isinstance(row, DecisionRow) and row.request_id == request_id and key_id in (None, row.key_id):
                return row
        return None

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while await self._gather():
            try:
                await self._write(list(islice(self._queue, self._config.batch_rows)))
            except Exception as error:  # noqa: BLE001  (whatever it is, the next rows are to be written)
                self._health.failed(error, n_waiting=len(self._queue), n_lost=self.n_lost)
                await _pause(self._closing, pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S) if not self._closing.is_set() else _FIRST_PAUSE_S
            else:
                self._health.worked(n_lost=self.n_lost)
                pause_s = _FIRST_PAUSE_S

    async def _gather(self) -> bool:
        """Waits for a batch; whether there is one."""
        while not self._queue:
            if self._closing.is_set():
                return False
            self._ready.clear()
            await self._ready.wait()
        if len(self._queue) < self._config.batch_rows and not self._closing.is_set():
            self._ready.clear()
            await _wait(self._ready, self._config.batch_s)
        self._metrics.queued(len(self._queue))
        return True

    async def _write(self, batch: list[Row]) -> None:
        try:
            spent = self.spending.unwritten() if self.spending is not None else ()
            await self._store.add(batch, spent)
            if self.spending is not None:
                self.spending.written(spent)
            n_refused = 0
        except RowError:
            n_refused = await self._write_singly(batch)
        self._drop(len(batch))
        self._metrics.written(len(batch) - n_refused)
        self._metrics.queued(len(self._queue))

    async def _write_singly(self, batch: list[Row]) -> int:
        """So that one row which the database refuses does not take the others with it; how many it refused."""
        refused: list[RowError] = []
        for row in batch:
            try:
                await self._store.add([row])
            except RowError as error:
                refused.append(error)
        if refused:
            self._lose(len(refused), "refused")
            _LOG.error("%s rejected by the database: %s", counted(len(refused), "row was", "rows were"), refused[0])
        return len(refused)

    def _drop(self, n_rows: int) -> None:
        for _ in range(n_rows):
            self._n_bytes -= _n_bytes(self._queue.popleft())

    def _lose(self, n_rows: int, reason: str) -> None:
        self.n_lost += n_rows
        self._metrics.lost(n_rows, reason)


class _Health:
    """Logs when the store fails, while it is down, and when it is back; not at every attempt."""

    def __init__(self, metrics: StoreMetrics) -> None:
        self._metrics = metrics
        self._failed_at: float | None = None
        self._said_at = 0.0
        self._n_lost_before = 0

    def failed(self, error: Exception, *, n_waiting: int, n_lost: int) -> None:
        now = time.monotonic()
        if self._failed_at is None:
            self._failed_at = now
            self._n_lost_before = n_lost
            self._metrics.up(False)
        elif now - self._said_at < _REMIND_S:
            return
        self._said_at = now
        said = error if isinstance(error, StoreError) else f"the store could not be written to: {type(error).__name__}"
        waiting = counted(n_waiting, "row is", "rows are")
        _LOG.error("%s; %s queued and %d lost since", said, waiting, n_lost - self._n_lost_before)

    def worked(self, *, n_lost: int) -> None:
        if self._failed_at is None:
            return
        away_s, lost = time.monotonic() - self._failed_at, n_lost - self._n_lost_before
        self._failed_at = None
        self._metrics.up(True)
        _LOG.warning("the store accepts rows again after %.1f s; %d were lost meanwhile", away_s, lost)


async def _pause(closing: asyncio.Event, seconds: float) -> None:
    """Waits, but not past the moment when the server is told to stop."""
    if closing.is_set():
        await asyncio.sleep(seconds)
    else:
        await _wait(closing, seconds)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _n_bytes(row: Row) -> int:
    """Of what may be long in it."""
    if not isinstance(row, DecisionRow):
        return 0
    return len(row.prompt or "") + len(row.embedding or b"")
