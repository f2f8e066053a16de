"""Live traffic: the latest requests and minutes, and the pages that follow them.

Each request is an entry in two ring buffers. While pages are connected, new entries are serialised once a second and
the same bytes go to every page; a page that does not keep up is disconnected.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.observers.live_row import LiveRow, live_row
from pointsman.serve.observers.request_rates import RequestRates, latency
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.request.record import Record

__all__ = ["STREAM_S", "LiveHub"]

_KEPT = 500
_PER_TICK = 100  # requests shown of one second; the rest is counted
_TICK_S = 1.0
STREAM_S = 10.0  # then the page comes back: a server that stops, or changes its engine, need not wait for it longer
_BEHIND = 4
Facts = Callable[[], dict[str, Any]]


@dataclass(slots=True, eq=False)
class _Watcher:
    """One page. Its queue holds events; None ends it."""

    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_BEHIND + 1))


class LiveHub:
    """An observer of records, and a component."""

    def __init__(self, *, max_watchers: int, prompts: bool = True) -> None:
        """Starts empty.

        Args:
            max_watchers: most connected pages.
            prompts: whether to show the beginnings of prompts.
        """
        self.id = os.urandom(6).hex()
        self.pace = RequestRates()
        self._max_watchers = max_watchers
        self._prompts = prompts
        self._last: deque[LiveRow] = deque(maxlen=_KEPT)
        self._n = self._told = 0
        self._watchers: set[_Watcher] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._facts: Facts = dict

    def __call__(self, record: Record) -> None:
        """A request has ended."""
        self._n += 1
        seen = live_row(record, number=self._n, prompts=self._prompts)
        self._last.append(seen)
        self.pace.count(seen)

    def reconfigure(self, facts: Facts) -> None:
        """Adds the current result of `facts` to every event."""
        self._facts = facts

    async def start(self) -> None:
        """Nothing to start: work begins with the first page."""

    async def close(self) -> None:
        """Disconnects the pages."""
        for watcher in list(self._watchers):
            self._let_go(watcher)
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
            self._ticking = None

    def recent(self) -> list[LiveRow]:
        """The last requests, newest first."""
        return list(reversed(self._last))

    async def watch(self, *, after: int = 0) -> AsyncGenerator[bytes, None]:
        """Server-sent events for one page: first everything, then updates once a second.

        Args:
            after: number of the last request that the page has.

        Raises:
            RequestError: 503, too many pages are connected.
        """
        if len(self._watchers) >= self._max_watchers:
            message = f"{self._max_watchers} pages are already connected, which is the limit (dashboard.watchers)"
            raise RequestError(message, status=503, type="server_error", code="too_many_watchers")
        watcher = _Watcher()
        watcher.queue.put_nowait(self._event(after, whole=True))
        self._watchers.add(watcher)
        if self._ticking is None or self._ticking.done():
            self._told = self._n
            self._ticking = asyncio.get_running_loop().create_task(self._tick())
        return self._events(watcher)

    async def _events(self, watcher: _Watcher) -> AsyncGenerator[bytes, None]:
        end = time.monotonic() + STREAM_S
        try:
            while time.monotonic() < end and (event := await watcher.queue.get()) is not None:
                yield event
        finally:
            self._watchers.discard(watcher)

    async def _tick(self) -> None:
        while self._watchers:
            await asyncio.sleep(_TICK_S)
            event = self._event(self._told, whole=False)
            self._told = self._n
            for watcher in list(self._watchers):
                if watcher.queue.qsize() < _BEHIND:
                    watcher.queue.put_nowait(event)
                else:
                    self._let_go(watcher)

    def _let_go(self, watcher: _Watcher) -> None:
        self._watchers.discard(watcher)
        watcher.queue.put_nowait(None)

    def _event(self, after: int, *, whole: bool) -> bytes:
        n_new = min(self._n - after if 0 <= after <= self._n else self._n, len(self._last), _PER_TICK)
        newest = [self._last[-k] for k in range(1, n_new + 1)]
        event = {
            "hub": self.id,
            "last": self._n,
            "whole": whole,
            **self.pace.summary(whole=whole),
            "latency": latency(self._last),
            **self._facts(),
            "decisions": newest,
        }
        return b"event: now\ndata: " + write_json(event) + b"\n\n"
