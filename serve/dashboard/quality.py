"""Is quality holding: the served answers' loss against the reference, from comparisons and from what users say.

Answers of the reference lose nothing. So the mean loss of all that was served is the share of the others, times their
mean loss where both answers were compared (1 where the reference's was better, 0 for a tie, -1 where it was worse).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pointsman.core.paired_loss import PairedLoss, paired_loss
from pointsman.serve.feedback.read import PREFERENCE, RATING
from pointsman.serve.store.queries import Said
from pointsman.serve.store.rows import ComparisonRow

__all__ = ["FEW", "Bound", "Loss", "by_span", "ratings_of", "served_loss"]

FEW = 20  # fewer comparisons are shown, but say nothing
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Loss:
    """Mean loss of all that was served.

    Attributes:
        value, low, high: with the ends of the 95 % interval.
        n_comparisons: that it rests on.
        weak_share: of requests answered by another than the reference.
    """

    value: float
    low: float
    high: float
    n_comparisons: int
    weak_share: float

    @property
    def tells(self) -> bool:
        """Whether there are enough comparisons to say anything."""
        return self.n_comparisons >= FEW

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"value": self.value, "low": self.low, "high": self.high, "n_comparisons": self.n_comparisons,
                "weak_share": self.weak_share, "tells": self.tells}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bound:
    """A promise about the loss.

    Attributes:
        max_loss, confidence: what is promised.
        source: who made it: "autopilot", or "calibration".
        state: "held", "void", or "overridden" by another rule.
        why: of a state that is not "held", in words.
        void_since: when it became void, in seconds since 1970; None where it is not.
    """

    max_loss: float
    confidence: float | None
    source: str
    state: str = "held"
    why: str = ""
    void_since: float | None = None

    def kept_by(self, loss: Loss | None) -> bool:
        """Whether nothing that was measured speaks against it."""
        return loss is None or not loss.tells or loss.low <= self.max_loss


def served_loss(
    comparisons: Sequence[ComparisonRow],
    said: Sequence[Said] = (),
    *,
    reference: str,
    weak_share: float | None,
    probabilities: Mapping[str, float] | None = None,
) -> Loss | None:
    """Mean loss of what was served; None where nothing was compared, or it is not known what was served.

    Args:
        said: of which the preferences of users count as comparisons.
        weak_share: of requests answered by another than the reference.
        probabilities: with which comparisons were drawn, by their ids: where any is known, only those count.
    """
    if weak_share is None:
        return None
    if weak_share == 0.0:
        return Loss(0.0, 0.0, 0.0, len(comparisons), 0.0)
    rows = [row for row in comparisons if row.model_b == reference and row.model_a != reference]
    known = probabilities or {}
    drawn = [row for row in rows if row.id in known]
    if drawn:
        found = paired_loss([_loss(row) for row in drawn], [1.0 / known[row.id] for row in drawn])
    else:
        preferred = [
            2.0 * one.value - 1.0 for one in said if one.kind == PREFERENCE and one.model not in (None, reference)
        ]
        found = paired_loss([*map(_loss, rows), *preferred])
    return None if found is None else _served(found, weak_share)


def ratings_of(said: Sequence[Said], reference: str) -> dict[str, Any] | None:
    """Mean rating of the reference's answers, and of the others', with the interval of the difference.

    These are answers to different prompts: the ones that were sent away are the easier ones.
    """
    of_reference, of_others = (
        np.array([one.value for one in said if one.kind == RATING and (one.model == reference) is is_reference])
        for is_reference in (True, False)
    )
    n = len(of_reference), len(of_others)
    if not any(n):
        return None
    means = [float(values.mean()) if len(values) else None for values in (of_reference, of_others)]
    found: dict[str, Any] = {"n": n, "reference": means[0], "others": means[1], "low": None, "high": None}
    if min(n) >= FEW:
        difference = float(of_others.mean() - of_reference.mean())
        half = _Z * float(np.sqrt(of_reference.var(ddof=1) / n[0] + of_others.var(ddof=1) / n[1]))
        found |= {"low": difference - half, "high": difference + half}
    return found


def by_span(
    label: Callable[[float], str], rows: Sequence[ComparisonRow], said: Sequence[Said]
) -> dict[str, tuple[list[ComparisonRow], list[Said]]]:
    """Comparisons and feedback of each span."""
    found: dict[str, tuple[list[ComparisonRow], list[Said]]] = {}
    for row in rows:
        found.setdefault(label(row.at), ([], []))[0].append(row)
    for one in said:
        found.setdefault(label(one.at), ([], []))[1].append(one)
    return found


def _loss(row: ComparisonRow) -> float:
    return 1.0 - 2.0 * row.outcome


def _served(found: PairedLoss, weak_share: float) -> Loss:
    value, low, high = (weak_share * part for part in (found.value, found.low, found.high))
    return Loss(value, low, high, found.n_pairs, weak_share)
