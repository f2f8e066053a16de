"""Comparisons of the store as a certificate counts them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pointsman.core.autopilot import JointPlan
from pointsman.core.certificate import Certificate
from pointsman.core.judge_bias import corrected_loss
from pointsman.serve.store.rows import AutopilotRow

__all__ = ["add_comparisons", "plans_of", "waits_for_label"]


def waits_for_label(kept: dict[str, Any] | None, row: AutopilotRow) -> bool:
    """Whether people are to say first what was lost in a comparison: its judged loss alone would be biased.

    Not where all that it was drawn for is void: then nothing is counted.
    """
    if not row.wants_label or row.label is not None:
        return False
    numbers = {row.generation, *(each[0] for each in row.others)}
    return any(g["number"] in numbers and not g["closed"] for g in (kept or {}).get("generations", ()))


def plans_of(row: AutopilotRow) -> tuple[tuple[int, tuple[int, float, float]], ...]:
    """The generations that a comparison is for, the one that served first, each with its plan."""
    beside = ((number, (reach, inside, outside)) for number, _, reach, inside, outside, *_ in row.others)
    return ((row.generation, row.plan), *beside)


def add_comparisons(
    certificate: Certificate,
    rows: Sequence[AutopilotRow],
    joint: JointPlan,
    place: int,
    bills: Mapping[str, float],
) -> None:
    """Adds comparisons that were drawn under one plan, by the scores of the generation at a place of that plan.

    Args:
        bills: of more than two candidates each one's relative bill.
    """

    def column(value: Callable[[AutopilotRow], float]) -> np.ndarray:
        return np.array([value(row) for row in rows], dtype=np.float64)

    certificate.add_many(
        column(lambda row: row.score if place == 0 else row.others[place - 1][1]),
        column(_loss),
        probabilities=column(lambda row: row.probability),
        least=joint.least(place, len(certificate.chain), many=bool(bills)),
        n_undrawn=np.array([row.n_undrawn for row in rows], dtype=np.int64),
        untils=column(lambda row: _until(row, place)),
        gains=column(lambda row: 1.0 - bills.get(row.candidate or "", 0.0)),
    )


def _until(row: AutopilotRow, place: int) -> float:
    until = row.until if place == 0 else next(iter(row.others[place - 1][5:]), None)
    return np.inf if until is None else until


def _loss(row: AutopilotRow) -> float:
    """As judged, corrected by what people say where they were asked."""
    return corrected_loss(row.loss, row.label, row.label_share) if row.label_share > 0.0 else row.loss
