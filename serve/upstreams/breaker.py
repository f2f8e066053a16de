"""The circuit breaker of one upstream: after some failures in a row no requests are sent to it for a while.

A request counts once, however often it is retried or sent again: a request that always fails (a grammar that crashes
the service) must not open the circuit for everybody. For the same reason, failures of one caller do not open it while
others succeed, and what the failures of one caller have opened is open for that caller alone: others find out for
themselves.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable

__all__ = ["Breaker"]

_RECENT_S = 60.0
_MAX_REMEMBERED = 1000


class Breaker:
    """Closed, it lets every call pass; open, none; after the pause, one call at a time until one succeeds."""

    def __init__(self, *, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts closed.

        Args:
            failures: how many requests in a row must fail to open it; two different ones at least, if more than one.
            open_s: for how long.
        """
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._n_failed = 0
        self._requests: set[Hashable] = set()  # that failed since the last success, like the next
        self._callers: set[Hashable] = set()
        self._answered: deque[tuple[float, Hashable]] = deque(maxlen=8)  # when whose last requests were
        self._opened_at: float | None = None
        self._probe_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused now."""
        return self.retry_after_s() > 0.0

    def allow(self, caller: Hashable = None) -> bool:
        """Whether a call of a caller may be made now; where it may, its outcome must be reported."""
        if self._opened_at is None:
            return True
        if self.is_open:
            return len(self._callers) == 1 and caller not in self._callers
        self._probe_at = self._clock()
        return True

    def retry_after_s(self) -> float:
        """Seconds until the next call may be made."""
        since = self._opened_at if self._probe_at is None else self._probe_at
        return 0.0 if since is None else max(0.0, since + self._open_s - self._clock())

    def respond(self) -> None:
        """A call begins to be answered: it closes, but what failed before still counts until the answer is complete."""
        self._opened_at = self._probe_at = None

    def succeed(self, caller: Hashable = None) -> None:
        """A request was answered: it closes.

        Args:
            caller: whose it was.
        """
        self._n_failed = 0
        self._requests.clear()
        self._callers.clear()
        if not self._answered or self._answered[-1][1] != caller:
            self._answered.append((self._clock(), caller))
        else:
            self._answered[-1] = (self._clock(), caller)
        self.respond()

    def fail(self, caller: Hashable = None, request: Hashable = None) -> None:
        """A request failed: it may open, and does again where it was a probe.

        Args:
            caller: whose it was.
            request: equal for requests that are the same; it is its own where None.
        """
        self._n_failed += 1
        if len(self._requests) < _MAX_REMEMBERED:
            self._requests.add(object() if request is None else request)
            self._callers.add(caller)
        probed, self._probe_at = self._probe_at is not None, None
        enough = self._n_failed >= self._limit and len(self._requests) >= min(2, self._limit)
        if (probed and self._opened_at is not None) or (enough and not self._is_one_callers()):
            self._opened_at = self._clock()

    def _is_one_callers(self) -> bool:
        """Whether all that failed is of one caller, while others are answered."""
        since = self._clock() - _RECENT_S
        others = any(at > since and caller not in self._callers for at, caller in self._answered)
        return len(self._callers) == 1 and others
