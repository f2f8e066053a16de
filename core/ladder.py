"""Which of many candidates a prompt goes to at each threshold, with bills fixed in advance.

By the rule of `core.choice` with one relative bill r(m) per candidate, the reference's 1:

    chosen = argmin W(m) + (t - 1/2) r(m)

As the threshold t rises from 0 to 1, the choice moves from the reference to ever cheaper candidates: each is chosen
between two thresholds, its *rung*. So a threshold is a fixed policy, whatever bills come to be, and one scalar orders
all policies from safe to cheap. Of a pair there is one rung, which begins at the win rate.

Candidates that are no cheaper than the reference, or that are dearer and no better than another, are never chosen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Rung", "draw_rung", "fixed_bills", "ladder", "length_shift", "rung_at"]

_LENGTH, _TYPICAL = 0.02, 501.0


class Rung(NamedTuple):
    """One candidate of a prompt.

    Attributes:
        candidate: its column; 0 is the reference.
        since, until: it is chosen iff since < threshold <= until, both in [0, 1].
    """

    candidate: int
    since: float
    until: float = 1.0


def ladder(win_rates: Sequence[float], bills: Sequence[float], *, shift: float = 0.0) -> tuple[Rung, ...]:
    """Rungs of a prompt, from safe to cheap; below the first one the reference is chosen.

    Args:
        win_rates: of the reference over each candidate, in [0, 1]; its own, the first, is not read.
        bills: relative ones, the reference's 1, the cheapest candidate's 0.
        shift: added to where rungs begin, see `length_shift`.
    """
    others = [i for i in range(1, len(bills)) if bills[i] < 1.0]
    left = [i for i in others if not any(_beats(j, i, win_rates, bills) for j in others)]
    offset, bill, found = 0.0, 1.0, list[Rung]()  # of the last candidate, W - r / 2 and r: first the reference's
    while left:
        turns = [((win_rates[i] - bills[i] / 2.0 - offset) / (bill - bills[i]), bills[i], i) for i in left]
        at, _, chosen = min(turns)
        since = min(max(at + shift, 0.0), 1.0)
        if found:
            found[-1] = found[-1]._replace(until=since)
        found.append(Rung(chosen, since))
        offset, bill = win_rates[chosen] - bills[chosen] / 2.0, bills[chosen]
        left = [i for i in left if bills[i] < bill]
    return tuple([rung for rung in found if rung.since < rung.until])


def fixed_bills(usd: Sequence[float | None]) -> tuple[float, ...]:
    """Relative bills of a typical prompt, the reference first: 1 of it, 0 of the cheapest.

    By rank, evenly spaced, where one is not known; all 1 where the reference is the cheapest.

    Args:
        usd: expected dollars of each candidate.
    """
    known = [bill for bill in usd if bill is not None]
    if len(known) < len(usd):
        return tuple([1.0 - i / max(len(usd) - 1, 1) for i in range(len(usd))])
    least, most = min(known), known[0]
    return tuple([(bill - least) / (most - least) if most > least else 1.0 for bill in known])


def length_shift(n_characters: int) -> float:
    """By how much later a prompt's rungs begin than a typical one's, for its length: 0.02 ln((1 + n) / 501).

    A router that tells prompts apart little, or not at all, would send all of them away at once; by length it is some
    at a time, the short ones first.
    """
    return _LENGTH * math.log((1.0 + n_characters) / _TYPICAL)


def rung_at(rungs: Sequence[Rung], threshold: float) -> int:
    """Column of the candidate that is chosen at a threshold."""
    return next((rung.candidate for rung in rungs if rung.since < threshold <= rung.until), 0)


def draw_rung(probabilities: Mapping[int, float], level: float) -> tuple[int, float] | None:
    """The candidate drawn, and its probability, or None.

    Args:
        probabilities: with which each candidate is drawn, one at most.
        level: uniform in [0, 1).
    """
    for candidate, probability in probabilities.items():
        if level < probability:
            return candidate, probability
        level -= probability
    return None


def _beats(one: int, other: int, win_rates: Sequence[float], bills: Sequence[float]) -> bool:
    """Whether one candidate leaves another out: cheaper and no worse, or as dear and better, or the first of equals."""
    gain, saving = win_rates[other] - win_rates[one], bills[other] - bills[one]
    return (saving > 0.0 and gain >= 0.0) or (saving == 0.0 and (gain > 0.0 or (gain == 0.0 and one < other)))
