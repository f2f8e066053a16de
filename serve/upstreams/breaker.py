"""The circuit breaker of one upstream: after several failures in a row it gets no requests for a while.

A request counts once, however often it is retried or sent again: one that always fails (a grammar that crashes
the service) must not open the circuit for everybody. For the same reason, failures of one caller do not open it while
others succeed, and a circuit opened by the failures of one caller is open only for that caller: others find out for
themselves.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable

__all__ = ["Breaker"]

_RECENT_S = 60.0
_MAX_REMEMBERED = 1000


class Breaker:
    """Closed, it allows every call; open, none; after the pause, one call at a time until one succeeds."""

    def __init__(self, *, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts closed.

        Args:
            failures: number of failed requests in a row that opens it; at least two different ones, if more than one.
            open_s: how long it stays open.
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
        """Whether a call would be rejected now."""
        return self.retry_after_s() > 0.0

    def allow(self, caller: Hashable = None) -> bool:
        """Whether a caller may make a call now; if so, its outcome must be reported."""
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
        """A call begins to be answered: the circuit closes, but earlier failures count until the answer is complete."""
        self._opened_at = self._probe_at = None

    def succeed(self, caller: Hashable = None) -> None:
        """A request was answered: the circuit closes.

        Args:
            caller: who sent it.
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
        """A request failed: the circuit may open, and does so again after a failed probe.

        Args:
            caller: who sent it.
            request: equal for equal requests; None for one unlike any other.
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
        """Whether all failures are of one caller, while others are answered."""
        since = self._clock() - _RECENT_S
        others = any(at > since and caller not in self._callers for at, caller in self._answered)
        return len(self._callers) == 1 and others
