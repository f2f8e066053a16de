"""The circuit breaker of one upstream: after some failures in a row it is left alone for a while."""

import time
from collections.abc import Callable

__all__ = ["Breaker"]


class Breaker:
    """Closed, it lets every call pass; open, none; after the pause, one call at a time until one succeeds."""

    def __init__(self, *, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts closed.

        Args:
            failures: how many failures in a row open it.
            open_s: for how long.
        """
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._probe_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused now."""
        return self.retry_after_s() > 0.0

    def allow(self) -> bool:
        """Whether a call may be made now; where it may, its outcome must be reported."""
        if self._opened_at is None:
            return True
        if self.is_open:
            return False
        self._probe_at = self._clock()
        return True

    def retry_after_s(self) -> float:
        """Seconds until the next call may be made."""
        since = self._opened_at if self._probe_at is None else self._probe_at
        return 0.0 if since is None else max(0.0, since + self._open_s - self._clock())

    def respond(self) -> None:
        """A call begins to be answered: it closes, but what failed before still counts until the answer is complete."""
        self._opened_at = self._probe_at = None

    def succeed(self) -> None:
        """A call was answered: it closes."""
        self._in_a_row = 0
        self.respond()

    def fail(self) -> None:
        """A call failed: it may open, and does again where the call was a probe."""
        self._in_a_row += 1
        self._probe_at = None
        if self._in_a_row >= self._limit:
            self._opened_at = self._clock()
