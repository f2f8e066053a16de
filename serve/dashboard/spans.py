"""Hours, days and weeks of a time zone, to sum the store's quarters of an hour by."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Literal, TypeAlias

__all__ = ["BY", "By", "Spans"]

By: TypeAlias = Literal["hour", "day", "week"]
BY: dict[By, int] = {"hour": 48, "day": 30, "week": 12}  # how many are shown
_HOURS: dict[By, float] = {"hour": 1.0, "day": 24.0, "week": 168.0}
_QUARTER_S = 900.0


@dataclass(frozen=True, slots=True)
class Spans:
    """The last hours, days or weeks, up to now.

    Attributes:
        by: which of them.
        now: seconds since 1970.
        zone: whose days they are.
    """

    by: By
    now: float
    zone: tzinfo

    @property
    def since(self) -> float:
        """The first quarter of an hour of the first span."""
        wanted = self._begin(datetime.fromtimestamp(self.now - 3600.0 * _HOURS[self.by] * (BY[self.by] - 1), self.zone))
        return wanted.timestamp() // _QUARTER_S * _QUARTER_S

    def label(self, at: float) -> str:
        """The span of an instant: "2026-11-28 14:00", "2026-11-28", of a week its Monday."""
        begin = self._begin(datetime.fromtimestamp(at, self.zone))
        return begin.strftime("%Y-%m-%d %H:00" if self.by == "hour" else "%Y-%m-%d")

    def labels(self) -> list[str]:
        """All spans, the oldest first."""
        step = 3600.0 * (1.0 if self.by == "hour" else 12.0)
        n = int((self.now - self.since) / step)
        return list(dict.fromkeys([self.label(self.since + k * step) for k in range(n + 1)] + [self.label(self.now)]))

    def _begin(self, moment: datetime) -> datetime:
        if self.by == "hour":
            return moment.replace(minute=0, second=0, microsecond=0)
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=moment.weekday()) if self.by == "week" else midnight
