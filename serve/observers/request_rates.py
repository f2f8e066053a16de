"""Requests per second, and the latest durations."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from pointsman.serve.observers.live_row import LiveRow

__all__ = ["Counts", "RequestRates", "latency"]

_SECONDS = 300
_PARTS = ("routing", "upstream", "overhead", "total")
_FAILED = frozenset({"failed", "broken", "crashed"})


@dataclass(slots=True)
class Counts:
    """Requests of one second, or in total; the dashboard reads the fields in this order.

    `n_priced` and `priced_usd` are the number and cost of those whose saving is known; `share` is the sum of how far
    routed requests went from the cheapest candidate's bill to the reference's, which for a pair counts strong calls.
    """

    requests: int = 0
    routed: int = 0
    strong: int = 0
    failed: int = 0
    usd: float = 0.0
    saved_usd: float = 0.0
    n_priced: int = 0
    priced_usd: float = 0.0
    share: float = 0.0

    def count(self, row: LiveRow) -> None:
        self.requests += 1
        self.failed += row["outcome"] in _FAILED
        if row["router"] is not None:
            self.routed += 1
            self.strong += row["strong"]
            self.share += row["strong"] if row["share"] is None else row["share"]
        if (cost := row["cost_usd"]) is not None:
            self.usd += cost
            if (strong := row["strong_usd"]) is not None:
                self.saved_usd += strong - cost
                self.n_priced += 1
                self.priced_usd += cost


class RequestRates:
    """Counts per second for the last five minutes, and since the start."""

    def __init__(self) -> None:
        """Starts at zero."""
        self._since = time.time()
        self._totals = Counts()
        self._seconds: deque[tuple[int, Counts]] = deque(maxlen=_SECONDS)

    def count(self, row: LiveRow) -> None:
        """Counts one request."""
        second = int(row["at"])
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counts()))
        self._totals.count(row)
        self._seconds[-1][1].count(row)

    def totals(self) -> tuple[Counts, float]:
        """Counts since the start, and its time in seconds since 1970."""
        return self._totals, self._since

    def failed(self) -> tuple[int, int]:
        """Failed requests of the last five minutes, and all requests."""
        first = time.time() - _SECONDS
        last = [counts for second, counts in self._seconds if second >= first]
        return sum(counts.failed for counts in last), sum(counts.requests for counts in last)

    def summary(self, *, whole: bool) -> dict[str, Any]:
        """The counts as JSON types: of all seconds, or the last three."""
        now = int(time.time())
        first = now - (_SECONDS if whole else 3)
        return {
            "now": now,
            "since": self._since,
            "totals": list(astuple(self._totals)),
            "seconds": [[second, *astuple(counts)] for second, counts in self._seconds if second >= first],
        }


def latency(seen: Iterable[LiveRow]) -> dict[str, list[float]]:
    """Median and 99th percentile in milliseconds: of routing, the upstream, the rest before the first byte, and
    the total; unknown ones are left out.
    """
    kept = list(seen)
    found = {name: [row[key] for row in kept if row.get(key) is not None] for name in _PARTS if (key := f"{name}_ms")}
    return {name: np.quantile(values, [0.5, 0.99]).round(4).tolist() for name, values in found.items() if values}
