"""Requests by the second, and how long the last of them took."""

import time
from collections import deque
from typing import Any

import numpy as np

from pointsman.serve.dashboard.sighting import Sighting

__all__ = ["Pace"]

_SECONDS = 300
_TIMED = 500
_PARTS = ("routing", "upstream", "overhead", "total")
_FAILED = frozenset({"failed", "broken", "crashed"})
_N, _ROUTED, _STRONG, _FAILURES, _COST, _SAVED = range(6)


class Pace:
    """Counts of each second of the last five minutes, and since the start."""

    def __init__(self) -> None:
        """Has counted nothing."""
        self.since = time.time()
        self._totals: list[float] = [0.0] * 6
        self._seconds: deque[tuple[int, list[float]]] = deque(maxlen=_SECONDS)
        self._timed: deque[tuple[float | None, ...]] = deque(maxlen=_TIMED)

    def count(self, seen: Sighting) -> None:
        """Counts one request."""
        second = int(seen["at"])
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, [0.0] * 6))
        for counts in (self._seconds[-1][1], self._totals):
            counts[_N] += 1
            if seen["router"] is not None:
                counts[_ROUTED] += 1
                counts[_STRONG] += seen["decided"] == seen["candidates"][0]
            counts[_FAILURES] += seen["outcome"] in _FAILED
            counts[_COST] += seen["cost_usd"] or 0.0
            if seen["strong_usd"] is not None and seen["cost_usd"] is not None:
                counts[_SAVED] += seen["strong_usd"] - seen["cost_usd"]
        self._timed.append(tuple(seen[f"{name}_ms"] for name in _PARTS))

    def summary(self, *, whole: bool) -> dict[str, Any]:
        """The counts as JSON types: of all seconds, or of the last three."""
        now = int(time.time())
        first = now - (_SECONDS if whole else 3)
        return {
            "now": now,
            "since": self.since,
            "totals": self._totals,
            "seconds": [[second, *counts] for second, counts in self._seconds if second >= first],
            "latency": self._latency(),
        }

    def _latency(self) -> dict[str, list[float]]:
        """Median and 99th percentile in milliseconds: of routing, the upstream, what is neither, and everything."""
        columns = zip(_PARTS, zip(*self._timed, strict=True), strict=True) if self._timed else ()
        known = {name: [value for value in values if value is not None] for name, values in columns}
        return {name: _percentiles(values) for name, values in known.items() if values}


def _percentiles(values: list[float]) -> list[float]:
    return [round(float(q), 4) for q in np.quantile(values, [0.5, 0.99])]
