"""Which part of the week an instant falls into, by the clock on the wall.

An instant always has exactly one wall-clock time, so every instant is either inside a span or outside it. Daylight
saving follows from that: an hour that the clocks skip is in no span, an hour that they repeat counts both times.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo

__all__ = ["WEEKDAYS", "WeeklySpan", "local_time", "parse_time"]

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60
_EARLIEST, _LATEST = -62_000_000_000.0, 253_370_000_000.0  # years 5 and 9998: datetimes end soon after


@dataclass(frozen=True, slots=True)
class WeeklySpan:
    """The same hours on some days of the week.

    Attributes:
        days: on which it begins, 0 for Monday to 6 for Sunday.
        begin, end: minutes after midnight, 0 to 1440; where `end` is not after `begin` it is the next day's.

    Raises:
        ValueError: a number leaves its range, there are no days, or it would be empty.
    """

    days: frozenset[int]
    begin: int
    end: int

    def __post_init__(self) -> None:
        if not self.days or not self.days <= set(range(7)):
            raise ValueError(f"days are {sorted(self.days)}, wanted at least one of 0 (Monday) to 6 (Sunday)")
        if not (0 <= self.begin < _DAY and 0 <= self.end <= _DAY):
            raise ValueError(f"span from minute {self.begin} to {self.end} of the day, wanted 0 to {_DAY}")
        if self.begin == self.end:
            raise ValueError("a span begins when it ends; a whole day is from 00:00 to 24:00")

    def contains(self, moment: datetime) -> bool:
        """Whether a wall-clock time falls into it; its end does not."""
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)

    @classmethod
    def of(cls, days: Iterable[str], begin: str, end: str) -> "WeeklySpan":
        """The span from names of days ("mon") and times ("09:00", "24:00").

        Raises:
            ValueError: a day or time is malformed.
        """
        unknown = [day for day in days if day not in WEEKDAYS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a day, wanted {', '.join(WEEKDAYS)}")
        return cls(frozenset(WEEKDAYS.index(day) for day in days), parse_time(begin), parse_time(end))


def parse_time(text: str) -> int:
    """Minutes after midnight of "HH:MM", from 00:00 to 24:00.

    Raises:
        ValueError: it is malformed.
    """
    hours, colon, minutes = text.partition(":")
    digits = colon and len(hours) == len(minutes) == 2 and (hours + minutes).isdecimal() and text.isascii()
    if not digits or int(minutes) > 59 or (total := int(hours) * 60 + int(minutes)) > _DAY:
        raise ValueError(f"{text!r} is not a time of day, wanted 00:00 to 24:00")
    return total


def local_time(now: float, zone: tzinfo) -> datetime:
    """The wall-clock time in a zone at `now`, in seconds since 1970; instants that no datetime reaches are moved in."""
    return datetime.fromtimestamp(min(max(now, _EARLIEST), _LATEST), zone)
