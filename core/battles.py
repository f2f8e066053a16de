"""Comparisons of two models, as arrays."""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray

__all__ = ["Battles", "win_table"]


@dataclass(frozen=True, slots=True, eq=False)
class Battles:
    """Battles between named models, one per row.

    Attributes:
        models: names; `model_a` and `model_b` index into them.
        model_a, model_b: rows of `models`, shape (n_battles,).
        outcome: share of the win that goes to model_a, in [0, 1]: 1 a wins, 0.5 tie, 0 b wins.
        weight: non-negative, finite; a battle of weight k counts like k battles.

    Raises:
        ValueError: shapes differ, or a value leaves its range.
    """

    models: tuple[str, ...]
    model_a: IntArray
    model_b: IntArray
    outcome: FloatArray
    weight: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))
        for name, dtype in (("model_a", np.int64), ("model_b", np.int64), ("outcome", float), ("weight", float)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=dtype))
        columns = (self.model_a, self.model_b, self.outcome, self.weight)
        if len({c.shape for c in columns}) != 1 or self.model_a.ndim != 1:
            raise ValueError(f"columns have shapes {[c.shape for c in columns]}, wanted one length for all four")
        if len(set(self.models)) != len(self.models):
            raise ValueError("a model name occurs twice in models")
        for name, column, low, high in (
            ("model_a", self.model_a, 0, len(self.models) - 1),
            ("model_b", self.model_b, 0, len(self.models) - 1),
            ("outcome", self.outcome, 0.0, 1.0),
            ("weight", self.weight, 0.0, np.finfo(float).max),
        ):
            bad = np.flatnonzero(~((column >= low) & (column <= high)))
            if bad.size:
                raise ValueError(f"{name} is {column[bad[0]]} in row {bad[0]}, wanted a value in [{low}, {high}]")

    def __len__(self) -> int:
        return len(self.outcome)


def win_table(battles: Battles) -> FloatArray:
    """Weighted wins of every model over every other, shape (n_models, n_models).

    Entry (i, j) is the sum of weight x share of the win that went to i against j. Battles of a model with itself carry
    no information on ratings and are left out.
    """
    n = len(battles.models)
    a, b = battles.model_a, battles.model_b
    wins = np.zeros(n * n)
    wins += np.bincount(a * n + b, weights=battles.weight * battles.outcome, minlength=n * n)
    wins += np.bincount(b * n + a, weights=battles.weight * (1.0 - battles.outcome), minlength=n * n)
    table = wins.reshape(n, n)
    np.fill_diagonal(table, 0.0)
    return table
