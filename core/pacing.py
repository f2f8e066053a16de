"""Holds a ceiling in dollars by moving the threshold, smoothly and never as a wall.

Before every prompt the rest of the money is spread over the rest of the traffic. With R dollars left, N prompts to
come, and s and w dollars for a strong and a weak answer, the share of strong answers that the money lasts for is

    share = (R / N - w) / (s - w), within [0, 1]

and the threshold is the one that this share of the recent win rates reaches: the price in win rate at which the budget
buys strong answers. Solved again for every prompt, it answers to spending ahead of plan and behind it, to traffic
beside the forecast, and to prices beside the estimate. N comes from the usual shape of the traffic (`TrafficShape`),
scaled by how this period's traffic compares with it so far.
"""

from dataclasses import dataclass
from datetime import UTC, tzinfo

from pointsman.core.periods import Per, Period, find_period
from pointsman.core.recent import RecentWinRates
from pointsman.core.traffic import TrafficShape

__all__ = ["Pacer", "PacerCosts", "affordable_share"]

_HOUR_S = 3600.0
_TRUST = 0.02  # of a period's forecast: this much of it counts as if it had been seen
_TAIL = 0.003  # of a period's prompts: the rest of the money is never spread over fewer
_LEAST_PAST_S = 60.0
_MEMORY = 1000.0  # answers that a mean cost reaches back
_PRIOR = 20.0  # answers that the estimate given at the start counts for


def affordable_share(left_usd: float, n_prompts: float, *, strong_usd: float, weak_usd: float) -> float:
    """Share of `n_prompts` that can go to the strong model within `left_usd`, in [0, 1].

    1 where the strong model costs no more than the weak one; 0 where the money does not even pay for that.
    """
    if strong_usd <= weak_usd:
        return 1.0
    if n_prompts <= 0.0:
        return 1.0 if left_usd > 0.0 else 0.0
    return min(max((left_usd / n_prompts - weak_usd) / (strong_usd - weak_usd), 0.0), 1.0)


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

    def learn(self, usd: float, *, strong: bool) -> None:
        """Takes in what an answer cost."""
        self.other_usd += (self._others_usd - self.other_usd) / min(self.n_strong + self.n_weak, _MEMORY)
        self._others_usd = 0.0
        if strong:
            self.n_strong = min(self.n_strong + 1.0, _MEMORY)
            self.strong_usd += (usd - self.strong_usd) / self.n_strong
        else:
            self.n_weak = min(self.n_weak + 1.0, _MEMORY)
            self.weak_usd += (usd - self.weak_usd) / self.n_weak

    def learn_other(self, usd: float) -> None:
        """Takes in what a request cost that no budget decides on."""
        self._others_usd += usd


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
        self._share = 1.0
        self._hour = (0.0, 0.0)
        self._before = self._rate = self._after = 0.0

    @property
    def share(self) -> float:
        """Share of strong answers that the money lasted for when it was last asked."""
        return self._share

    def threshold(self, now: float, left_usd: float, recent: RecentWinRates) -> float:
        """Lowest threshold that the money lasts for.

        Args:
            left_usd: what may still be spent here until the period ends: of the ceiling, less what was spent and what
                the requests under way will cost.
        """
        rest = self.prompts_to_come(now)
        floor = max(_TAIL * (self._seen + rest), 1.0)
        weak = self.costs.weak_usd + self.costs.other_usd
        strong = self.costs.strong_usd + self.costs.other_usd
        self._share = affordable_share(left_usd, max(rest, floor), strong_usd=strong, weak_usd=weak)
        return recent.threshold(self._share)

    def count(self, now: float) -> None:
        """One more prompt was decided on."""
        self._enter(now)
        self._seen += 1

    def prompts_to_come(self, now: float) -> float:
        """Prompts to expect until the period ends."""
        self._enter(now)
        if not self._hour[0] <= now < self._hour[1]:
            self._look_ahead(now)
        since_hour = max(now - max(self._hour[0], self._since), 0.0)
        past = self._before + self._rate * since_hour
        rest = self._after + self._rate * max(min(self._hour[1], self._period.end) - now, 0.0)
        if not (self._forecast and self.traffic.known):
            return (self._seen + 1) * rest / max(past, _LEAST_PAST_S / _HOUR_S)
        trusted = _TRUST * (past + rest)
        return rest * (self._seen + trusted) / max(past + trusted, 1e-9)

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
        self._after = self.traffic.expected(min(end, self._period.end), self._period.end)
