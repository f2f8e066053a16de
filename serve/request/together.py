"""Passes records to observers in batches, which takes less time than one by one between requests.

Where few requests are served at a time, batches are short: they hold up the request that comes next.
"""

import asyncio

from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.record import Observer, Record

__all__ = ["Together"]

_MOST, _MOST_OF_FEW = 32, 8
_LATEST_S = 0.02
_LONG_BYTES = 16 * 1024  # of a body that is not held on to until others come


class Together:
    """An observer of records in front of others that can wait: for 20 ms, or until `flush`.

    It is also a component, so that nothing is left when the application ends.
    """

    def __init__(self, in_step: InStep, *observers: Observer) -> None:
        """Starts empty; `observers` may be changed at any time."""
        self.observers = observers
        self._in_step = in_step
        self._waiting: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None  # of this batch: an earlier one's would cut it short

    def __call__(self, record: Record) -> None:
        """A request has ended."""
        waiting, context = self._waiting, record.context
        waiting.append(record)
        most = _MOST if self._in_step.is_crowded else _MOST_OF_FEW
        if len(waiting) >= most or (context is not None and len(context.request.body) > _LONG_BYTES):
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LATEST_S, self.flush)

    def flush(self) -> None:
        """Passes the waiting records to the observers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        records, self._waiting = self._waiting, []
        for observe in self.observers:
            for record in records:
                observe(record)

    async def start(self, _: object) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Passes on what is waiting."""
        self.flush()
