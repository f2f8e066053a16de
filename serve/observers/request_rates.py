"""Requests by the second, and how long the last of them took."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from pointsman.serve.observers.live_row import Sighting

__all__ = ["Pace", "latency"]

_SECONDS = 300
_PARTS = ("routing", "upstream", "overhead", "total")
_FAILED = frozenset({"failed", "broken", "crashed"})
_WIDTH = 6  # requests, routed, to strong, failed, dollars, dollars saved


class Pace:
    """Counts of each second of the last five minutes, and since the start."""

    def __init__(self) -> None:
        """Has counted nothing."""
        self._since = time.time()
        self._second = 0
        self._counts: list[float] = [0.0] * _WIDTH
        self._before: list[float] = [0.0] * _WIDTH
        self._seconds: deque[tuple[int, list[float]]] = deque(maxlen=_SECONDS)

    def count(self, seen: Sighting) -> None:
        """Counts one request."""
        second = int(seen["at"])
        if second != self._second:
            self._before = self._totals()
            self._second, self._counts = second, [0.0] * _WIDTH
            self._seconds.append((second, self._counts))
        counts = self._counts
        counts[0] += 1
        if seen["router"] is not None:
            counts[1] += 1
            if seen["decided"] == seen["candidates"][0]:
                counts[2] += 1
        if seen["outcome"] in _FAILED:
            counts[3] += 1
        if (cost := seen["cost_usd"]) is not None:
            counts[4] += cost
            if (strong := seen["strong_usd"]) is not None:
                counts[5] += strong - cost

    def summary(self, *, whole: bool) -> dict[str, Any]:
        """The counts as JSON types: of all seconds, or of the last three."""
        now = int(time.time())
        first = now - (_SECONDS if whole else 3)
        return {
            "now": now,
            "since": self._since,
            "totals": self._totals(),
            "seconds": [[second, *counts] for second, counts in self._seconds if second >= first],
        }

    def _totals(self) -> list[float]:
        return [before + now for before, now in zip(self._before, self._counts, strict=True)]


def latency(seen: Iterable[Sighting]) -> dict[str, list[float]]:
    """Median and 99th percentile in milliseconds: of routing, the upstream, what else comes before the first byte, and
    everything; those of which nothing is known are left out.
    """
    kept = list(seen)
    found = {name: [row[key] for row in kept if row.get(key) is not None] for name in _PARTS if (key := f"{name}_ms")}
    return {name: np.quantile(values, [0.5, 0.99]).round(4).tolist() for name, values in found.items() if values}
