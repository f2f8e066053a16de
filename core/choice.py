"""Which candidate answers a prompt: expected quality against the expected bill.

Candidates m = 1..N, one of them the *reference*, whose quality the others are measured against:

    W(m)  win rate of the reference over m, in [0, 1]; 1/2 for the reference itself
    g(m)  = 2 W(m) - 1, quality expected to be lost by asking m instead, in [-1, 1]
    c(m)  expected bill of this prompt at m, in dollars
    r(m)  = (c(m) - min c) / (c(reference) - min c), relative bill: 0 the cheapest, 1 the reference
    t     threshold in [0, 1], the one knob that all policies turn

    chosen = argmin g(m) + (2t - 1) r(m),  ties go to the dearer;  t = 0: the reference;  t = 1: the cheapest

Half of it is compared, W(m) - r(m) / 2 + t r(m), which is W for r = 0 and t for the reference, without rounding. Of two
candidates r is 0 and 1 whatever they cost, so the rule is RouteLLM's: the reference iff W >= t.

A dollar is worth the same on every prompt where `point_usd` says how many of them a whole point of quality is worth at
t = 1: r is then weighed by (c(reference) - min c) / point_usd. A pair has no use for it.

A candidate other than the reference that is dearer and expected no better than another one is left out first. Below
t = 1/2 the rule rewards money, up to the reference's bill: r counts as at most 1 there. So the bill of what is chosen
never rises with the threshold, as far as it is below the reference's.

Where a bill is not known, r is by rank, evenly spaced, the first candidate the dearest. Where the reference is the
cheapest of several, r is 0 for all. Candidates that are unable to answer are left out by the caller; a reference that
is unable still sets the scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pointsman.core.recent import NEVER_STRONG

__all__ = ["MOST", "Candidate", "Choice", "Weighed", "choose", "choose_and_turn", "relative_bills", "turning_point"]

_BELOW_ONE = math.nextafter(1.0, 0.0)
MOST = 1e9  # times the reference's bill: more counts as this, and stays finite


class Candidate(NamedTuple):
    """A model that may answer one prompt.

    Attributes:
        name: of the model.
        win_rate: of the reference over it, in [0, 1]; None where the router failed. The reference's own is 1/2.
        usd: expected bill of the prompt; None where its price is not known.
    """

    name: str
    win_rate: float | None
    usd: float | None = None


class Weighed(NamedTuple):
    """A candidate as the rule sees it.

    Attributes:
        candidate: the model, its win rate and its bill.
        relative_bill: r, 0 for the cheapest, 1 for the reference.
        score: what the rule minimises, W - r / 2 + t r with the weighed r; None without win rates.
    """

    candidate: Candidate
    relative_bill: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidates in the order in which to ask them.

    Attributes:
        ranking: the chosen one, then the fallbacks; excluded ones come last.
    """

    ranking: tuple[Weighed, ...]

    @property
    def model(self) -> str:
        """Name of the chosen one."""
        return self.ranking[0].candidate.name

    @property
    def share(self) -> float:
        """How far the bill goes from the cheapest (0) to the reference (1); for a pair 1 iff strong."""
        return min(self.ranking[0].relative_bill, 1.0)

    @property
    def margin(self) -> float | None:
        """By how much, in win rate, the runner-up is worse; None without one or without win rates."""
        if len(self.ranking) < 2:
            return None
        first, second = self.ranking[0].score, self.ranking[1].score
        return None if first is None or second is None else second - first


def choose(
    candidates: Sequence[Candidate], reference: Candidate, *, threshold: float, point_usd: float | None = None
) -> Choice:
    """Orders the candidates that are able to answer by the rule above.

    Args:
        candidates: the able ones, in order of configuration.
        reference: one of them, or a model that is unable itself. Where a win rate is missing the reference comes first
            and the others in their order.
        point_usd: dollars that a whole point of quality is worth at threshold 1; what lies between the cheapest and
            the reference on this prompt if None.

    Raises:
        ValueError: there is no candidate, two share a name, or `threshold` leaves [0, 1] and is not `NEVER_STRONG`,
            at which the cheapest is first even if it surely loses: there is no money for another.
    """
    _check_threshold(threshold)
    return _chosen(_Field(candidates, reference, point_usd), candidates, reference, threshold)


def choose_and_turn(
    candidates: Sequence[Candidate],
    reference: Candidate,
    *,
    threshold: float,
    level: float,
    point_usd: float | None = None,
) -> tuple[Choice, float | None]:
    """`choose` and `turning_point` of the same candidates, which are weighed once."""
    _check_threshold(threshold)
    field = _Field(candidates, reference, point_usd)
    return _chosen(field, candidates, reference, threshold), _turning_point(field, level)


def _check_threshold(threshold: float) -> None:
    if not 0.0 <= threshold <= NEVER_STRONG:
        raise ValueError(f"threshold is {threshold}, wanted a number in [0, 1]")


def _chosen(field: "_Field", candidates: Sequence[Candidate], reference: Candidate, threshold: float) -> Choice:
    rows, r, dearness = range(len(candidates)), field.relative_bills, field.dearness
    rates = field.win_rates
    if rates is None:
        unscored = [Weighed(candidate, bill, None) for candidate, bill in zip(candidates, r, strict=True)]
        return Choice(tuple(sorted(unscored, key=lambda weighed: weighed.candidate.name != reference.name)))
    counted = field.counted(capped=threshold < 0.5)
    scores = [rates[i] - counted[i] / 2.0 + threshold * counted[i] for i in rows]
    left_out = field.left_out
    first = field.end(rates, threshold)
    keys = [(i != first, left_out[i], scores[i], -dearness[i], i != field.row, field.names[i], i) for i in rows]
    keys.sort()
    return Choice(tuple([Weighed(candidates[key[-1]], r[key[-1]], scores[key[-1]]) for key in keys]))


def relative_bills(candidates: Sequence[Candidate], reference: Candidate) -> list[float]:
    """r of each candidate: 0 the cheapest, 1 the reference, above 1 what is dearer than the reference."""
    return _Field(candidates, reference).relative_bills


def turning_point(
    candidates: Sequence[Candidate], reference: Candidate, *, level: float = 0.5, point_usd: float | None = None
) -> float | None:
    """Highest threshold at which the choice goes at least `level` of the way from the cheapest to the reference.

    For a pair it is the win rate, at every level. For a level drawn uniformly from (0, 1] the probability that it is at
    least t is the share at threshold t: what holds a share for pairs by their win rates holds it for all by these.

    Args:
        level: in (0, 1].
        point_usd: as for `choose`.

    Returns:
        A number in [0, 1]; None where a win rate is missing.
    """
    return _turning_point(_Field(candidates, reference, point_usd), level)


def _turning_point(field: "_Field", level: float) -> float | None:
    rates = field.win_rates
    if rates is None:
        return None
    left_out, r = field.left_out, field.relative_bills
    above = [i for i in range(len(r)) if r[i] >= level and not left_out[i]]
    below = [i for i in range(len(r)) if r[i] < level and not left_out[i]]
    if not above or not below:
        return 1.0 if above else 0.0
    late = _crossing(rates, field.counted(capped=False), above, below)
    if late < 0.5:
        return min(max(_crossing(rates, field.counted(capped=True), above, below), 0.0), 0.5)
    if late < _BELOW_ONE:
        return late
    return 1.0 if field.end(rates, 1.0) is None else _BELOW_ONE


def _crossing(rates: Sequence[float], bills: Sequence[float], above: Sequence[int], below: Sequence[int]) -> float:
    """Highest t at which one of `above` scores no worse than all of `below`."""
    lower = [(rates[b] - bills[b] / 2.0, bills[b]) for b in below]
    upper = [(rates[a] - bills[a] / 2.0, bills[a]) for a in above]
    return max([min([(low - high) / (dear - bill) for low, bill in lower]) for high, dear in upper])


class _Field:
    """Candidates on the scale that the reference sets.

    Attributes:
        names: of the candidates.
        row: of the reference among them; None where it is unable.
        relative_bills: r of each.
        dearness: what tells which of two is dearer: bills, or r where they do not count.
        win_rates: of the reference over each, its own 1/2; None where one is missing.
        left_out: which are dearer than another that is expected to be no worse, never the reference; empty without
            win rates.
    """

    __slots__ = ("_candidates", "_weight", "dearness", "left_out", "names", "relative_bills", "row", "win_rates")

    def __init__(self, candidates: Sequence[Candidate], reference: Candidate, point_usd: float | None = None) -> None:
        names = [candidate.name for candidate in candidates]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"candidates are {names}, wanted at least one, each once")
        self._candidates, self.names = candidates, names
        self.row = names.index(reference.name) if reference.name in names else None
        scale = candidates if self.row is not None else [reference, *candidates]
        usd = [candidate.usd for candidate in scale if candidate.usd is not None]
        self._weight = 1.0
        if len(scale) > 2 and len(usd) == len(scale):
            least, most = min(usd), usd[self.row or 0]
            span = most - least
            bills = [min((bill - least) / span, MOST) for bill in usd] if span > 0.0 else [0.0] * len(usd)
            dearness = usd
            if point_usd:
                self._weight = min(max(most - least, 0.0) / point_usd, MOST)
        else:
            others = iter(range(len(scale) - 2, -1, -1))
            last = max(len(scale) - 1, 1)
            bills = [1.0 if c.name == reference.name else next(others) / last for c in scale]
            dearness = bills
        skipped = len(scale) - len(candidates)
        self.relative_bills, self.dearness = bills[skipped:], dearness[skipped:]
        rates = [0.5 if i == self.row else candidate.win_rate for i, candidate in enumerate(candidates)]
        known = [rate for rate in rates if rate is not None]
        self.win_rates = known if len(known) == len(rates) else None
        self.left_out = [] if self.win_rates is None else self._left_out(self.win_rates)

    def counted(self, *, capped: bool) -> list[float]:
        """r as the rule weighs it; of what is dearer than the reference as much as of the reference if `capped`."""
        return [(min(bill, 1.0) if capped else bill) * self._weight for bill in self.relative_bills]

    def _left_out(self, rates: Sequence[float]) -> list[bool]:
        found, best, waiting, last = [False] * len(rates), math.inf, math.inf, -math.inf
        for bill, rate, i in sorted(zip(self.dearness, rates, range(len(rates)), strict=True)):
            if bill > last:
                best, last = waiting, bill
            found[i] = best <= rate and i != self.row
            if rate < waiting:
                waiting = rate
        return found

    def end(self, rates: Sequence[float], threshold: float) -> int | None:
        """The one that an end of the scale names: the reference at 0, the cheapest at 1 unless it surely loses."""
        if threshold == 0.0:
            return self.row
        if threshold < 1.0:
            return None
        cheapest = min(
            range(len(rates)), key=lambda i: (self.dearness[i], rates[i], i != self.row, self._candidates[i].name)
        )
        return cheapest if rates[cheapest] < 1.0 or threshold > 1.0 else None
