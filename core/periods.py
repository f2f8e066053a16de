"""The hour, day or month that an instant belongs to."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, TypeAlias

from pointsman.core.schedule import local_time

__all__ = ["Per", "Period", "find_period"]

Per: TypeAlias = Literal["hour", "day", "month"]


@dataclass(frozen=True, slots=True)
class Period:
    """From `begin` until just before `end`, in seconds since 1970."""

    begin: float
    end: float


def find_period(per: Per, now: float, zone: tzinfo = UTC) -> Period:
    """The period of a zone's calendar around `now`. A day of 23 or 25 hours is one day.

    Raises:
        ValueError: `per` is neither hour, day nor month.
    """
    moment = local_time(now, zone)
    if per == "hour":
        begin = now - (moment.minute * 60 + moment.second + moment.microsecond / 1e6)
        return Period(round(begin), round(begin) + 3600.0)
    midnight = datetime(moment.year, moment.month, moment.day)
    if per == "day":
        return Period(_first(midnight, zone), _last(midnight + timedelta(days=1), zone))
    if per == "month":
        first = midnight.replace(day=1)
        return Period(_first(first, zone), _last((first + timedelta(days=32)).replace(day=1), zone))
    raise ValueError(f"per is {per!r}, wanted hour, day or month")


def _first(midnight: datetime, zone: tzinfo) -> float:
    """When the clocks of a zone first show a midnight; when they jump over it where they do not."""
    return midnight.replace(tzinfo=zone).timestamp()


def _last(midnight: datetime, zone: tzinfo) -> float:
    """When they last show it: clocks that are turned back at midnight show it twice."""
    return max(midnight.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
