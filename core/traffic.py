"""What traffic to expect: its usual shape by the hour, learned from the hours before."""

from collections.abc import Iterator, Sequence
from datetime import UTC, tzinfo
from typing import Any

from pointsman.core.schedule import local_time

__all__ = ["TrafficShape"]

_HOUR_S = 3600.0
_SLOTS = 48  # the 24 hours of a working day, then those of a day at the weekend
_WEIGHT = 0.3  # of the newest hour
_LONGEST_SILENCE_S = 36 * _HOUR_S  # a longer one is a stopped server or a clock that jumped, not an absence of traffic
_LEAST_SEEN = 0.5
_BUSY = (0.7,) * 6 + (0.85,) * 2 + (1.0,) * 10 + (0.85,) * 4 + (0.7,) * 2  # an unseen hour, beside a busy one


class TrafficShape:
    """Prompts an hour for every hour of a working day and of a day at the weekend.

    An hour's rate moves by `_WEIGHT` towards what came in it each time it has passed. Hours that were never seen are
    taken to compare with those that were as on most days: busy from eight to six, quieter in the evening, and at night.

    Attributes:
        rates: prompts an hour by slot; None for a slot that was never seen.
    """

    def __init__(self, rates: Sequence[float | None] | None = None, *, zone: tzinfo = UTC) -> None:
        """Begins with what is known.

        Raises:
            ValueError: there are not 48 rates (or 24 for all days alike), or one is negative.
        """
        known: list[float | None] = [None] * _SLOTS if rates is None else list(rates)
        known = known * 2 if len(known) == _SLOTS // 2 else known
        if len(known) != _SLOTS or any(rate is not None and not 0.0 <= rate < float("inf") for rate in known):
            raise ValueError(f"rates are {known}, wanted 24 or {_SLOTS} numbers that are not negative")
        self.rates = known
        self._zone = zone
        self._hour: float | None = None
        self._since = 0.0
        self._last = 0.0
        self._count = 0
        self._silence: tuple[float, list[float | None]] | None = None  # its end, and what was known before it

    def count(self, now: float) -> None:
        """One more prompt at `now`, in seconds since 1970."""
        hour = now // _HOUR_S
        if hour != self._hour:
            self._turn(now, hour)
        self._count += 1
        self._last = now

    def expected(self, begin: float, end: float) -> float:
        """Prompts to expect between two instants; 0 if `end` is not after `begin`.

        Where nothing is known a busy hour counts one: good for comparing stretches of time with each other.
        """
        usual, known = self.usual, self.known
        return sum(
            hours * (rate if known and rate is not None else usual * _BUSY[slot % 24])
            for slot, rate, hours in self._hours(begin, end)
        )

    def unseen_hours(self, begin: float, end: float) -> float:
        """Busy hours between two instants whose traffic was never seen; a quieter hour counts as a part of one."""
        known = self.known
        return sum(
            hours * _BUSY[slot % 24] for slot, rate, hours in self._hours(begin, end) if rate is None or not known
        )

    @property
    def usual(self) -> float:
        """Prompts in a busy hour, by those that were seen; 1 where there are none."""
        seen = [(rate, _BUSY[slot % 24]) for slot, rate in enumerate(self.rates) if rate is not None]
        prompts = sum(rate for rate, _ in seen)
        return prompts / sum(busy for _, busy in seen) if prompts else 1.0

    @property
    def known(self) -> bool:
        """Whether any traffic was seen, so that `expected` counts prompts."""
        return any(self.rates)

    def to_dict(self) -> dict[str, Any]:
        """What to store."""
        return {"rates": [None if rate is None else round(rate, 3) for rate in self.rates]}

    def _turn(self, now: float, hour: float) -> None:
        """Learns from the hour that has passed, and from those after it in which nothing came."""
        before = self._hour
        if before is not None and 0.0 < now - self._last < _LONGEST_SILENCE_S and hour > before:
            seen = 1.0 - (self._since - before * _HOUR_S) / _HOUR_S
            if seen >= _LEAST_SEEN:
                self._learn(before, self._count / seen)
            if hour > before + 1.0:
                self._silence = (hour, list(self.rates))
            for silent in range(int(before) + 1, int(hour)):
                self._learn(float(silent), 0.0)
            self._since = hour * _HOUR_S
        else:
            if self._silence is not None and hour < self._silence[0]:  # hours yet to come were taken for silent ones
                self.rates, self._silence = self._silence[1], None
            self._since = now
        self._hour, self._count = hour, 0

    def _learn(self, hour: float, rate: float) -> None:
        slot = self._slot(hour * _HOUR_S)
        known = self.rates[slot]
        self.rates[slot] = rate if known is None else known + _WEIGHT * (rate - known)

    def _hours(self, begin: float, end: float) -> Iterator[tuple[int, float | None, float]]:
        """Slot and rate of every hour between two instants, and how much of the hour lies there."""
        at = begin
        while at < end:
            until = min((at // _HOUR_S + 1.0) * _HOUR_S, end)
            slot = self._slot(at)
            yield slot, self.rates[slot], (until - at) / _HOUR_S
            at = until

    def _slot(self, at: float) -> int:
        moment = local_time(at, self._zone)
        return moment.hour + (24 if moment.weekday() >= 5 else 0)
