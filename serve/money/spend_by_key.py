"""Dollars by time and key: recent ones by quarter of an hour, older ones by day."""

from datetime import tzinfo

from pointsman.core.periods import Period, find_period

__all__ = ["Spent"]

_MOST_TIMES = 400  # four days of quarters of an hour, or two days of them and half a year of days
_KEPT_TIMES = 300


class Spent:
    """Dollars of every key by the beginning of the time in which they were spent.

    Times are quarters of an hour, at which the hours, days and months of every zone begin. When there are many, those
    before yesterday are added up to days of a zone, and the oldest are let go of: what is held is bounded by the number
    of keys. No clock decides about it, so that one that jumps and comes back finds everything again.
    """

    __slots__ = ("_usd",)

    def __init__(self) -> None:
        """Starts empty."""
        self._usd: dict[float, dict[str, float]] = {}

    def __len__(self) -> int:
        return len(self._usd)

    def add(self, at: float, key: str, usd: float) -> None:
        """Adds dollars."""
        keys = self._usd.setdefault(at, {})
        keys[key] = keys.get(key, 0.0) + usd

    def put(self, at: float, key: str, usd: float) -> float:
        """Sets the total and returns the increase."""
        keys = self._usd.setdefault(at, {})
        before, keys[key] = keys.get(key, 0.0), usd
        return usd - before

    def within(self, period: Period) -> dict[str, float]:
        """Dollars by key within a period."""
        total: dict[str, float] = {}
        for at, keys in self._usd.items():
            if period.begin <= at < period.end:
                for key, usd in keys.items():
                    total[key] = total.get(key, 0.0) + usd
        return total

    def fold(self, now: float, zone: tzinfo) -> None:
        """Sums up into days what is older than yesterday, if there are many times."""
        if len(self._usd) <= _MOST_TIMES:
            return
        yesterday = find_period("day", find_period("day", now, zone).begin - 1.0, zone).begin
        fine, self._usd = self._usd, {}
        for at in sorted(fine):
            day = at if at >= yesterday else find_period("day", at, zone).begin
            for key, usd in fine[at].items():
                self.add(day, key, usd)
        for at in sorted(self._usd)[:-_KEPT_TIMES]:
            del self._usd[at]
