"""Rate limits of access keys, over all paths together."""

import time
from collections.abc import Callable

from pointsman.serve.auth.keys import AccessKey

__all__ = ["RateLimits"]


class RateLimits:
    """Token buckets, one for each key that has a limit; each process has its own."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, key: AccessKey) -> float:
        """Seconds until the key may send a request; 0 if now, which then counts. A burst may be a minute's worth."""
        if key.requests_per_minute is None:
            return 0.0
        now, capacity = self._clock(), float(key.requests_per_minute)
        left, before = self._buckets.get(key.id, (capacity, now))
        left = min(capacity, left + (now - before) * capacity / 60.0)
        if left < 1.0:
            self._buckets[key.id] = (left, now)
            return (1.0 - left) * 60.0 / capacity
        self._buckets[key.id] = (left - 1.0, now)
        return 0.0
