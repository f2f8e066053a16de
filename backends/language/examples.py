"""Prompts with how much better the strong model did than the weak one: what language-model routers learn from."""

from dataclasses import dataclass

import numpy as np

from pointsman.backends.data.battle_files import read_battles
from pointsman.backends.data.battle_sets import BattleSet
from pointsman.backends.data.outcomes import Outcomes, read_outcomes
from pointsman.backends.data.tables import Source, iter_batches, read_table
from pointsman.core.arrays import FloatArray
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair

__all__ = ["PairExamples", "from_battles", "from_outcomes", "read_pair_examples"]


@dataclass(frozen=True, slots=True, eq=False)
class PairExamples:
    """Prompts that both models of a pair answered.

    Attributes:
        prompts: one per row.
        difference: score of strong minus score of weak, or +1, 0, -1 for a battle won, tied, lost by strong,
            shape (n_prompts,).
        groups: fold of each row where the source tells it; None otherwise. Rows of one prompt share it.

    Raises:
        DataError: there is no row, or shapes differ.
    """

    prompts: tuple[str, ...]
    difference: FloatArray
    groups: tuple[object, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "difference", np.asarray(self.difference, dtype=np.float64))
        if not self.prompts:
            raise DataError("no prompt was answered by both models of the pair; name another pair or other data")
        lengths = {len(self.prompts), *self.difference.shape, len(self.groups or self.prompts)}
        if self.difference.ndim != 1 or len(lengths) != 1:
            raise DataError(f"{len(self.prompts)} prompts for differences of shape {self.difference.shape}")

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: np.ndarray) -> "PairExamples":
        """The examples of some rows, or where a boolean mask is true."""
        chosen = np.arange(len(self))[rows]
        groups = None if self.groups is None else tuple(self.groups[i] for i in chosen)
        return PairExamples(tuple(self.prompts[i] for i in chosen), self.difference[chosen], groups)


def from_outcomes(outcomes: Outcomes, pair: ModelPair) -> PairExamples:
    """The prompts of an outcome table that both models answered.

    Raises:
        DataError: the table does not know a model, or they share no prompt.
    """
    for name in (pair.strong, pair.weak):
        if name not in outcomes.models:
            raise DataError(f"no outcomes of model {name!r}; the table knows {', '.join(outcomes.models[:20])}")
    scores = np.full((2, len(outcomes.prompts)), np.nan)
    for row, name in enumerate((pair.strong, pair.weak)):
        mine = outcomes.model == outcomes.models.index(name)
        scores[row, outcomes.prompt[mine]] = outcomes.score[mine]
    difference = scores[0] - scores[1]
    both = np.flatnonzero(~np.isnan(difference))
    return PairExamples(tuple(outcomes.prompts[i] for i in both), difference[both])


def from_battles(found: BattleSet, pair: ModelPair) -> PairExamples:
    """The battles between the two models of a pair, whichever came first.

    Raises:
        DataError: a model fought no battle, or they never met.
    """
    b = found.battles
    for name in (pair.strong, pair.weak):
        if name not in b.models:
            raise DataError(f"no battles of model {name!r}; the data knows {', '.join(b.models[:20])}")
    strong, weak = b.models.index(pair.strong), b.models.index(pair.weak)
    forward = (b.model_a == strong) & (b.model_b == weak)
    rows = np.flatnonzero(forward | ((b.model_a == weak) & (b.model_b == strong)))
    share = np.where(forward, b.outcome, 1.0 - b.outcome)[rows]
    return PairExamples(tuple(found.prompts[i] for i in found.prompt[rows]), 2.0 * share - 1.0)


def read_pair_examples(source: Source, pair: ModelPair) -> PairExamples:
    """Examples of a pair from a file or data set.

    Read are columns `prompt, strong, weak` (scores of the pair, whatever its names; column `fold` becomes `groups`),
    outcome tables `prompt, model, score`, and battles in the formats of `battle_files`.

    Raises:
        DataError: the source is malformed, in no known format, or holds nothing on the pair.
    """
    names = next((set(batch.columns) for batch in iter_batches(source, batch_rows=1)), set())
    if {"prompt", "strong", "weak"} <= names:
        return _from_scores(source, fold="fold" in names)
    if {"prompt", "model", "score"} <= names and "model_a" not in names:
        return from_outcomes(read_outcomes(source), pair)
    return from_battles(read_battles(source), pair)


def _from_scores(source: Source, *, fold: bool) -> PairExamples:
    table = read_table(source, columns=("prompt", "strong", "weak", *(("fold",) if fold else ())))
    groups = tuple(table.column("fold")) if fold else None
    return PairExamples(tuple(table.texts("prompt")), table.numbers("strong") - table.numbers("weak"), groups)
