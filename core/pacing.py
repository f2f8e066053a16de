"""Keeps spending within a ceiling in dollars by moving the threshold, smoothly and without a sudden stop.

Before every prompt the rest of the money is spread over the rest of the traffic. With R dollars left, N prompts to
come, and s and w dollars for a strong and a weak answer, the share of strong answers that the money lasts for is

    share = (R - w N) / ((s - w) N'), within [0, 1],   N' = N - 1.5 sqrt(D N)

and 1 where strong answers cost no more. The threshold is the one that this share of the recent win rates reaches: the
price in win rate at which the budget buys strong answers. It is computed again for every prompt, so it reacts to
spending, traffic and prices that differ from the plan; only N may be a twentieth of a second old. N comes from the
usual shape of the traffic (`TrafficShape`), scaled by this period's traffic so far. N' is a cautious N: money left at
the end of the traffic is lost, so traffic in bursts (D times as scattered as independent prompts) is paid for a little
earlier, while the weak answers reserved for all of N pay for what still comes.

For hours never seen, as on a first day, only a distribution of N is known, from the traffic so far (`Arrivals`) and
from the ceiling, since people choose one that suits their traffic. After n prompts, under a ceiling that pays for m
strong answers, the prior is

    N / (n + N) min(1, m / (n + N))

beside the one of `Arrivals`, to which every order of magnitude of N is alike: every order of magnitude of the period's
prompts is equally likely while the money pays for strong answers alone, and beyond that every share that it pays for.
The share is then its mean over N: the price in win rate now is the mean of later ones, as likely to rise as to fall.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

from pointsman.core.arrivals import Arrivals
from pointsman.core.periods import Per, Period, find_period
from pointsman.core.recent import RecentWinRates
from pointsman.core.traffic import TrafficShape

__all__ = ["Expected", "Pacer", "PacerCosts"]

_HOUR_S = 3600.0
_TRUST = 0.02  # of a period's forecast: this much of it counts as if it had been seen
_BIN_S = 900.0
_MEMORY_BINS = 96.0
_LEAST_BINS = 8.0
_CAUTION = 1.5  # standard deviations of the traffic to come that are not counted on
_TAIL = 0.001  # of a period's prompts: the rest of the money is never spread over fewer
_LEAST_PACE = 0.01
_LEAST_USD = 1e-12
_NOTHING_LEFT = 1.0 - 1e-9  # of a missed share: weights sum to 1 but for their rounding
_FRESH_S, _FRESH = 0.05, 0.01  # so long, and for so many more prompts of those seen, a plan holds
_MEMORY = 1000.0  # answers that a mean cost reaches back
_PRIOR = 20.0  # answers that the estimate given at the start counts for


@dataclass(slots=True)
class PacerCosts:
    """Mean dollars of an answer, as far as is known.

    Attributes:
        strong_usd, weak_usd: of an answer of either model.
        other_usd: spent on requests that no budget decides on, for every one that it does.
        n_strong, n_weak: answers that they are the mean of.
    """

    strong_usd: float
    weak_usd: float
    other_usd: float = 0.0
    n_strong: float = _PRIOR
    n_weak: float = _PRIOR
    _others_usd: float = 0.0

    def learn(self, usd: float, *, strong: float) -> None:
        """Takes in what an answer cost: 1 for strong, 0 for weak; what lies between tells of neither."""
        self.other_usd += (self._others_usd - self.other_usd) / min(self.n_strong + self.n_weak, _MEMORY)
        self._others_usd = 0.0
        if strong >= 1.0:
            self.n_strong = min(self.n_strong + 1.0, _MEMORY)
            self.strong_usd += (usd - self.strong_usd) / self.n_strong
        elif strong <= 0.0:
            self.n_weak = min(self.n_weak + 1.0, _MEMORY)
            self.weak_usd += (usd - self.weak_usd) / self.n_weak

    def learn_other(self, usd: float) -> None:
        """Takes in what a request cost that no budget decides on."""
        self._others_usd += usd


@dataclass(frozen=True, slots=True)
class Expected:
    """Prompts to come.

    Attributes:
        n_prompts: their expected number.
        low, high: there are fewer, and more, with a probability of a tenth each.
    """

    n_prompts: float
    low: float
    high: float


class _Burstiness:
    """How much prompts come in bursts: the variance of their number in a quarter of an hour over its mean.

    1 for prompts that come independently of each other. Both are means that reach a day back.

    Attributes:
        dispersion: the quotient, at least 1.
    """

    __slots__ = ("_bin", "_count", "_mean", "_n_bins", "_square", "dispersion")

    def __init__(self) -> None:
        self.dispersion = 1.0
        self._bin: float | None = None
        self._count = 0
        self._n_bins = self._mean = self._square = 0.0

    def count(self, now: float) -> None:
        """One more prompt."""
        bin_now = now // _BIN_S
        if bin_now != self._bin:
            if self._bin is not None:
                empty = bin_now - self._bin - 1.0
                for count in (self._count, *([0] * int(empty) if 0.0 <= empty < _MEMORY_BINS else ())):
                    self._learn(count)
            self._bin, self._count = bin_now, 0
        self._count += 1

    def _learn(self, count: int) -> None:
        self._n_bins = min(self._n_bins + 1.0, _MEMORY_BINS)
        self._mean += (count - self._mean) / self._n_bins
        self._square += (count * count - self._square) / self._n_bins
        if self._n_bins >= _LEAST_BINS and self._mean > 0.0:
            self.dispersion = max((self._square - self._mean**2) / self._mean, 1.0)


class Pacer:
    """The state of one ceiling. All times are seconds since 1970, handed in; a clock that jumps begins a new period.

    Attributes:
        usd: the ceiling.
        per: what it is for.
        costs: what answers cost.
        traffic: the usual shape of the traffic, shared between pacers.
    """

    def __init__(
        self,
        usd: float,
        per: Per,
        *,
        costs: PacerCosts,
        traffic: TrafficShape,
        forecast: bool = True,
        zone: tzinfo = UTC,
    ) -> None:
        """Begins with an empty period.

        Args:
            forecast: whether `traffic` also tells how much to expect; else its shape alone counts, as for a ceiling on
                a part of the traffic.

        Raises:
            ValueError: `usd` is not positive.
        """
        if not 0.0 < usd < float("inf"):
            raise ValueError(f"usd is {usd}, wanted dollars above 0")
        self.usd, self.per, self.costs, self.traffic = usd, per, costs, traffic
        self._forecast, self._zone = forecast, zone
        self._period = Period(0.0, 0.0)
        self._since = 0.0
        self._seen = 0
        self._bursts = _Burstiness()
        self._share = 1.0
        self._hour = (0.0, 0.0)
        self._before = self._rate = self._after = 0.0
        self._arrivals = Arrivals()
        self._unseen_after = self._unseen_share = 0.0
        self._part = 1.0
        self._pace = 1.0
        self._plan: Sequence[tuple[float, float, float]] = ()
        self._planned = (-math.inf, 0)

    @property
    def share(self) -> float:
        """Share of strong answers that the money lasted for when it was last asked."""
        return self._share

    def threshold(self, now: float, left_usd: float, recent: RecentWinRates, *, part: float = 1.0) -> float:
        """Lowest threshold that the money lasts for.

        Args:
            left_usd: what may still be spent here until the period ends: of the ceiling, less what was spent and what
                the requests under way will cost.
            part: of the ceiling that this process has, as it has of the traffic.
        """
        weak_usd = self.costs.weak_usd + self.costs.other_usd
        extra_usd = self.costs.strong_usd - self.costs.weak_usd
        if part != self._part or not self._is_fresh(now):
            self._part = part
            self._plan = [(weight, rest, self._sure(rest)) for weight, rest in self._to_come(now)]
            self._planned = (now, self._seen)
        missed = 0.0  # of a share of 1, which no rounding keeps it from
        if extra_usd > 0.0:
            for weight, rest, sure in self._plan:
                paid = (left_usd - rest * weak_usd) / sure / extra_usd
                if paid < 1.0:
                    missed += weight * (1.0 - paid) if paid > 0.0 else weight
        self._share = 1.0 - missed if missed < _NOTHING_LEFT else 0.0
        return recent.threshold(self._share)

    def _is_fresh(self, now: float) -> bool:
        """Whether the prompts to come are still as when they were last planned for, but for a hundredth of them."""
        at, seen = self._planned
        return 0.0 <= now - at < _FRESH_S and now < self._period.end and (self._seen - seen) < _FRESH * self._seen

    def _sure(self, rest: float) -> float:
        """Of so many prompts to come, those to spread the money over."""
        return max(rest - _CAUTION * math.sqrt(self._bursts.dispersion * rest), _TAIL * (self._seen + rest), 1.0)

    def count(self, now: float) -> None:
        """One more prompt was decided on."""
        self._enter(now)
        self._seen += 1
        self._bursts.count(now)
        self._arrivals.count(now, pace=self._pace)

    def prompts_to_come(self, now: float) -> Expected:
        """Prompts to expect until the period ends."""
        found = self._to_come(now)
        mean = sum(weight * n for weight, n in found)
        return Expected(mean, _quantile(found, 0.1), _quantile(found, 0.9))

    def _to_come(self, now: float) -> Sequence[tuple[float, float]]:
        """Numbers of prompts that may come until the period ends, each with its probability before it, rising.

        Hours that a forecast knows count by it, as this period's traffic compares with it so far; the others by what
        has come at all.
        """
        self._enter(now)
        if not self._hour[0] <= now < self._hour[1]:
            self._look_ahead(now)
        since_hour = max(now - max(self._hour[0], self._since), 0.0)
        left_s = max(min(self._hour[1], self._period.end) - now, 0.0)
        past, rest = self._before + self._rate * since_hour, self._after + self._rate * left_s
        usual = self.traffic.usual
        unseen = (self._unseen_after + self._unseen_share * left_s / _HOUR_S) if self._forecast else rest / usual
        trusted = _TRUST * (past + rest)
        scatter = self._arrivals.dispersion
        known = max(rest - unseen * usual, 0.0) * (self._seen / scatter + trusted) / max(past / scatter + trusted, 1e-9)
        if unseen <= 0.0:
            return ((1.0, known),)
        rates = self._arrivals.rates(now, unseen, pace=self._pace)
        found = [(rate.weight, known + rate.per_hour * unseen) for rate in rates]
        weights = [weight * self._likely(n) for weight, n in found]
        total = sum(weights)
        return [(weight / total, n) for weight, (_, n) in zip(weights, found, strict=True)] if total else found

    def _likely(self, rest: float) -> float:
        """How likely `rest` prompts to come are by the ceiling alone, up to a factor."""
        whole = max(self._seen + rest, 1.0)
        payable = self._part * self.usd / max(self.costs.strong_usd + self.costs.other_usd, _LEAST_USD)
        return rest / whole * min(payable / whole, 1.0)

    def planned_usd(self, now: float) -> float:
        """What would have been spent by now if spending followed the usual traffic."""
        self._enter(now)
        whole = self.traffic.expected(self._period.begin, self._period.end)
        past = self.traffic.expected(self._period.begin, now)
        return self.usd * (past / whole if whole else 0.0)

    def period(self, now: float) -> Period:
        """The period around `now`."""
        self._enter(now)
        return self._period

    def _enter(self, now: float) -> None:
        if not self._period.begin <= now < self._period.end:
            before, self._period = self._period, find_period(self.per, now, self._zone)
            # Nothing is known of the time before a start, or of one that a clock jumped over.
            self._since = self._period.begin if before.end == self._period.begin else now
            self._seen = 0
            self._hour = (0.0, 0.0)

    def _look_ahead(self, now: float) -> None:
        begin = now // _HOUR_S * _HOUR_S
        end = begin + _HOUR_S
        self._hour = (begin, end)
        self._before = self.traffic.expected(self._since, max(begin, self._since))
        self._rate = self.traffic.expected(begin, end) / _HOUR_S
        rest = min(end, self._period.end), self._period.end
        self._after, self._unseen_after = self.traffic.expected(*rest), self.traffic.unseen_hours(*rest)
        self._unseen_share = self.traffic.unseen_hours(begin, end)
        self._pace = max(self._rate * _HOUR_S / self.traffic.usual, _LEAST_PACE)


def _quantile(points: Sequence[tuple[float, float]], probability: float) -> float:
    """Of rising numbers with their probabilities."""
    total = 0.0
    for weight, n in points:
        total += weight
        if total >= probability:
            return n
    return points[-1][1]
