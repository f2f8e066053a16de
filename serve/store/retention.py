"""Deletes old rows in small batches."""

import asyncio
import logging
import time

from pointsman.core.errors import StoreError
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.store import Store

__all__ = ["Retention"]

SPEND_DAYS = 400.0
_LOG = logging.getLogger(__name__)
_DAY_S = 86400.0
_EVERY_S = 600.0
_BATCH_ROWS = 500
_PAUSE_S = 0.05  # between batches, so that the writer gets its turn


class Retention:
    """Keeps the store within `retention_days`; spend, which is small and counts for budgets, within 400 days."""

    def __init__(self, store: Store, *, metrics: StoreMetrics) -> None:
        """Deletes nothing before `start`."""
        self._store = store
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts looking for old rows."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self.delete_old(time.time())
            except StoreError as error:
                _LOG.warning("old rows could not be deleted: %s", error)
            await asyncio.sleep(_EVERY_S)

    async def delete_old(self, now: float) -> int:
        """Deletes rows older than the retention at `now`, in seconds since 1970; returns their number.

        Raises:
            StoreError: the database cannot be reached; rows deleted before stay deleted.
        """
        n_deleted = 0
        await self._store.delete_spend_before(now - SPEND_DAYS * _DAY_S)
        if (days := self._store.config.retention_days) is not None:
            while n := await self._store.delete_before(now - days * _DAY_S, limit=_BATCH_ROWS):
                n_deleted += n
                self._metrics.deleted(n)
                await asyncio.sleep(_PAUSE_S)
        return n_deleted
