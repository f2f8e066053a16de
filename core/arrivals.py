"""How much traffic to expect without a forecast: a wide range at first, narrower with every hour.

A first burst says little of a day. Prompts so far count as k bursts, k = n^2 / sum_i c_i^2 for the counts c_i of single
minutes: 1 for n prompts at once, the number of minutes for even traffic. The first burst is why the clock runs at all,
so that k - 1 came in the T hours since. With the prior that every order of magnitude is alike (Gamma(0.15), a minute),

    rate r ~ Gamma(shape s, mean m),   m = (n / k) (k - 1 + 0.15) / (T + 1/60)          prompts an hour
    1 / s = 1 / (k - 1 + 0.15) + 0.6 H / (H + T) ln(1 + H / T)

The second term is the uncertainty about the H hours to come: each tenfold longer stretch of a day differs
from what was seen by as much again (traffic is 1/f noise). Rates are given as points of that distribution with weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Arrivals", "Rate"]

_MINUTE_S, _HOUR_S = 60.0, 3600.0
_MEMORY_H = 24.0
_PRIOR_BURSTS, _PRIOR_H = 0.15, 1.0 / 60.0
_WIDENED = 0.6  # variance of the logarithm of a rate for every e-fold of hours
_N_POINTS = 20
_ASKED_S = 1.0  # so long the points are taken to be the same


@dataclass(frozen=True, slots=True)
class Rate:
    """A possible rate of traffic.

    Attributes:
        weight: its probability; those of all rates sum to 1.
        per_hour: prompts an hour.
    """

    weight: float
    per_hour: float


class Arrivals:
    """Prompts so far, as bursts; those a day old count a third. All times are seconds since 1970."""

    __slots__ = ("_asked", "_count", "_hours", "_last", "_minute", "_n", "_rates", "_squares")

    def __init__(self) -> None:
        self._n = self._squares = self._hours = 0.0
        self._last: float | None = None
        self._minute, self._count = 0.0, 0
        self._rates: tuple[Rate, ...] = ()
        self._asked = (-math.inf, 0.0, 0.0)

    @property
    def clump(self) -> float:
        """Average number of prompts in the minute of a prompt: n / k; 1 before the first."""
        n = self._n + self._count
        return (self._squares + self._count**2) / n if n else 1.0

    @property
    def dispersion(self) -> float:
        """How much prompts come in bursts of minutes: 1 where they come independently of each other, at least 1."""
        minutes = max(60.0 * self._hours, 15.0)
        return max(self.clump - (self._n + self._count) / minutes, 1.0)

    def count(self, now: float, *, pace: float = 1.0) -> None:
        """Adds a prompt; `pace` is the usual traffic at this time of day relative to that of a mean hour."""
        self._pass(now, pace)
        self._count += 1

    def rates(self, now: float, hours: float, *, pace: float = 1.0) -> Sequence[Rate]:
        """Rates of the `hours` to come, each with its probability, rising."""
        self._pass(now, pace)
        asked, n, ahead = self._asked
        come = self._n + self._count
        if not 0.0 <= now - asked < _ASKED_S or come > 1.1 * n or not 0.9 * ahead <= hours <= 1.1 * ahead:
            self._asked = (now, come, hours)
            self._rates = self._points(hours)
        return self._rates

    def _points(self, hours: float) -> tuple[Rate, ...]:
        bursts = max((self._n + self._count) / self.clump - 1.0, 0.0) + _PRIOR_BURSTS
        mean = self.clump * bursts / (self._hours + _PRIOR_H)
        seen = max(self._hours, _PRIOR_H)
        shape = 1.0 / (1.0 / bursts + _WIDENED * hours / (hours + seen) * math.log1p(hours / seen))
        # in x = ln(r shape / mean) the density is exp(shape x - e^x): from a hundredth of the mass on, and to its end
        low = max(math.log(shape) - 4.0 / math.sqrt(shape), math.log(0.01) / shape)
        high = math.log(shape + 4.0 * math.sqrt(shape) + 4.0)
        places = [low + (high - low) * (i + 0.5) / _N_POINTS for i in range(_N_POINTS)]
        logs = [shape * x - math.exp(x) for x in places]
        most = max(logs)
        weights = [math.exp(value - most) for value in logs]
        total = sum(weights)
        return tuple(Rate(w / total, mean * math.exp(x) / shape) for w, x in zip(weights, places, strict=True))

    def _pass(self, now: float, pace: float) -> None:
        """Lets time pass until `now`; a clock that goes backwards does not count."""
        if self._last is None:
            self._minute = now // _MINUTE_S
            self._last = now
        if now // _MINUTE_S != self._minute:
            self._n += self._count
            self._squares += self._count**2
            self._minute, self._count = now // _MINUTE_S, 0
        passed = max(now - self._last, 0.0) / _HOUR_S
        self._last = now
        kept = math.exp(-passed / _MEMORY_H)
        self._n, self._squares = self._n * kept, self._squares * kept
        self._hours = self._hours * kept + _MEMORY_H * (1.0 - kept) * pace
