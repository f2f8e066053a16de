"""Logs an outage when it begins, once a minute while it lasts, and when it ends."""

import logging
import time
from collections.abc import Callable

__all__ = ["Outage"]

_REMIND_S = 60.0


class Outage:
    """Rate-limits the log of an operation that is retried every second, so that the log does not fill the disk.

    Args:
        log: the logger.
        what: what fails, e.g. "spending could not be shared".
        clock: seconds, never going back.
    """

    def __init__(self, log: logging.Logger, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._what, self._clock = log, what, clock
        self._began: float | None = None
        self._said = 0.0
        self._n_failed = 0

    def failed(self, error: Exception) -> None:
        """Counts a failure; logs it if it is the first or a minute has passed."""
        now = self._clock()
        self._n_failed += 1
        if self._began is None:
            self._began, self._said = now, now
            self._log.warning("%s; retrying: %s", self._what, error)
        elif now - self._said >= _REMIND_S:
            self._said = now
            self._log.warning("%s for %.0f s (%d attempts): %s", self._what, now - self._began, self._n_failed, error)

    def over(self) -> None:
        """Logs that it works again, after an outage."""
        if self._began is not None:
            self._log.warning("%s for %.0f s; it works again", self._what, self._clock() - self._began)
            self._began, self._n_failed = None, 0
