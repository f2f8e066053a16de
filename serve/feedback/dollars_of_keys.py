"""Divides the day's dollars of shadow comparisons among access keys."""

import time
from collections.abc import Callable

from pointsman.core.periods import Period

__all__ = ["DollarsOfKeys"]

_DAY_S = 86_400.0
_PART = 0.5  # of the day's dollars, for one of several keys


class DollarsOfKeys:
    """What each key's answers cost today to compare, in this process.

    A key gets half of the dollars, or all of them where no other key was drawn in the last 24 hours.
    """

    def __init__(self, day: Callable[[], Period], *, clock: Callable[[], float] = time.time) -> None:
        self._day = day
        self._clock = clock
        self._begin = 0.0
        self._usd: dict[str, float] = {}
        self._drawn_at: dict[str, float] = {}  # by key, the one that was drawn last at the end

    def reserve(self, key: str | None, usd: float, *, of_usd: float) -> bool:
        """Takes the most that a comparison can cost out of a key's part; False where that has too little left.

        Args:
            of_usd: this process's part of the day's dollars.
        """
        if key is None:
            return True
        now, begin = self._clock(), self._day().begin
        if begin != self._begin:
            self._begin, self._usd = begin, {}
        self._drawn_at.pop(key, None)
        self._drawn_at[key] = now
        while abs(now - self._drawn_at[oldest := next(iter(self._drawn_at))]) >= _DAY_S:
            del self._drawn_at[oldest]
        part = _PART if len(self._drawn_at) > 1 else 1.0
        if self._usd.get(key, 0.0) + usd > part * of_usd:
            return False
        self._usd[key] = self._usd.get(key, 0.0) + usd
        return True

    def settle(self, key: str | None, *, reserved_usd: float, usd: float) -> None:
        """What it cost instead of what was reserved."""
        if key is not None and key in self._usd:
            self._usd[key] += usd - reserved_usd
