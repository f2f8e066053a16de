"""Training examples of an encoder with a head per candidate, and how good its predictions for other prompts are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pointsman.backends.data.score_tables import ScoreTable
from pointsman.backends.training.reach import LeftOut, choose_part, worth
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.errors import DataError
from pointsman.core.evidence import shrinkage
from pointsman.core.score_models import column_means

__all__ = ["CandidateExamples", "Worth", "worth_of"]

_LEAST = 20  # held-out prompts, to tell anything by


@dataclass(frozen=True, slots=True, eq=False)
class CandidateExamples:
    """Prompts that the reference and other candidates answered.

    Attributes:
        table: of the candidates, the reference first; of prompts that it and another one are scored on.
    """

    table: ScoreTable

    @classmethod
    def of(cls, table: ScoreTable, candidates: Sequence[str]) -> "CandidateExamples":
        """The prompts of a table that can be used for training.

        Raises:
            DataError: see `check_candidates`; or the reference is nowhere scored beside another one.
        """
        chosen = table.of(candidates)
        both = np.isfinite(chosen.scores[:, 0]) & np.isfinite(chosen.scores[:, 1:]).any(axis=1)
        if not both.any():
            raise DataError(f"{table.source}: no prompt has scores of {candidates[0]} and of another candidate")
        return cls(chosen.take(np.flatnonzero(both)))

    @property
    def prompts(self) -> tuple[str, ...]:
        """One per row."""
        return self.table.prompts

    @property
    def difference(self) -> FloatArray:
        """Score of the reference less that of each other one, NaN where not known, (n_prompts, n_candidates - 1)."""
        return np.asarray(self.table.scores[:, :1] - self.table.scores[:, 1:])

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: IntArray) -> "CandidateExamples":
        """Some of the examples."""
        return replace(self, table=self.table.take(rows))


@dataclass(frozen=True, slots=True)
class Worth:
    """How far an encoder's predictions count.

    Attributes:
        shrinkage: of each candidate, in [0, 1]; zeros where choosing by prompt is no better than a fixed choice.
        facts: gain over a fixed choice with its error, as JSON types; empty where no prompts were held out.
    """

    shrinkage: tuple[float, ...]
    facts: dict[str, Any]


def worth_of(win_rates: FloatArray, held: ScoreTable, train: ScoreTable) -> Worth:
    """How good predictions for held-out prompts are, by `core.evidence`.

    Args:
        win_rates: of the reference over each candidate as predicted, shape (n_held, n_candidates).
    """
    n, n_candidates = win_rates.shape
    if n < _LEAST:
        return Worth((1.0,) * n_candidates, {})
    means, usd = column_means(train.scores), column_means(train.usd)
    priced = bool(np.isfinite(usd).all())
    predicted = means[0] - (2.0 * win_rates - 1.0)
    tiled = np.tile(means, (n, 1)), np.tile(usd, (n, 1))
    left_out = LeftOut(predicted, tiled[1] if priced else None, *tiled, np.zeros(n))
    counts = shrinkage(predicted, held.scores)
    bills = held.usd if priced else None
    counts *= choose_part(left_out, counts, held.scores, bills)
    evidence = worth(left_out, np.tile(counts, (n, 1)), held.scores, bills)
    facts = {"gain": evidence.gain, "error": evidence.error, "n_prompts": n, "trusted": evidence.trusted}
    return Worth(tuple((counts * evidence.trusted).tolist()), facts)
