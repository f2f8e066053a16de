"""Prompts with how much better the strong model did than the weak one: what language-model routers learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.backends.data.battle_files import read_battles
from pointsman.backends.data.battle_sets import BattleSet
from pointsman.backends.data.labels import label_columns, prompt_texts, read_labels
from pointsman.backends.data.outcomes import Outcomes, holds_outcomes, read_outcomes
from pointsman.backends.data.sources import Source
from pointsman.core.aggregation import N_SCORES
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair

__all__ = ["PairExamples", "from_battles", "held_out_rows", "merge_examples", "read_judge_scores", "read_pair_examples"]


@dataclass(frozen=True, slots=True, eq=False)
class PairExamples:
    """Prompts that both models of a pair answered.

    Attributes:
        prompts: one per row.
        difference: score of strong minus score of weak, or +1, 0, -1 for a battle won, tied, lost by strong,
            shape (n_prompts,).
        groups: fold of each row where the source tells it; None otherwise. Rows of one prompt share it.
        notes: what became of rows that were left out or merged.

    Raises:
        DataError: there is no row, or shapes differ.
    """

    prompts: tuple[str, ...]
    difference: FloatArray
    groups: tuple[object, ...] | None = None
    notes: tuple[str, ...] = ()

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
        return PairExamples(tuple(self.prompts[i] for i in chosen), self.difference[chosen], groups, self.notes)


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
    outcome tables of `data.outcomes`, and battles in the formats of `battle_files`.

    Raises:
        DataError: the source is malformed, in no known format, or holds nothing on the pair.
    """
    names = set(label_columns(source))
    if {"prompt", "strong", "weak"} <= names:
        return _from_scores(source, fold="fold" in names)
    if holds_outcomes(names, (pair.strong, pair.weak)):
        return from_outcomes(read_outcomes(source, (pair.strong, pair.weak)), pair)
    return from_battles(read_battles(source), pair)


def read_judge_scores(source: Source) -> tuple[tuple[str, ...], IntArray]:
    """Prompts and a judge's scores of the weak model's answers, from columns `prompt, score`; scores are 1 to 5.

    Raises:
        DataError: a column is missing, or a score is another; the message gives its row.
    """
    table = read_labels(source, columns=("prompt", "score"))
    scores = table.scores("score")
    bad = np.flatnonzero(~np.isin(scores, np.arange(1, N_SCORES + 1)) & ~np.isnan(scores))
    if bad.size:
        raise DataError(
            f"{table.source}, row {table.first_row + bad[0]}: score is {scores[bad[0]]} ({bad.size} such rows), "
            f"wanted a judge's 1 to {N_SCORES}"
        )
    found = merge_examples([PairExamples(tuple(prompt_texts(table)), scores)])
    return found.prompts, np.rint(found.difference).astype(np.int64)


def merge_examples(parts: Sequence[PairExamples]) -> PairExamples:
    """Several sources as one, each prompt once, with the mean of its differences; groups are kept where all tell them.

    Rows without a prompt or a difference are left out. What was left out and merged is in `notes`; a prompt on which
    rows contradict each other (one says strong, another weak) counts by their mean.

    Raises:
        DataError: nothing is left.
    """
    prompts = [prompt for part in parts for prompt in part.prompts]
    difference = np.concatenate([part.difference for part in parts])
    groups = [group for part in parts for group in part.groups or ()]
    grouped = len(groups) == len(prompts)
    number: dict[str, int] = {}
    known = ~np.isnan(difference)
    kept = [i for i, prompt in enumerate(prompts) if prompt.strip() and known[i]]
    row = np.array([number.setdefault(prompts[i], len(number)) for i in kept], dtype=np.int64)
    first = np.array(kept, dtype=np.int64)[np.unique(row, return_index=True)[1]] if kept else np.zeros(0, np.int64)
    each = difference[kept]
    count = np.bincount(row, minlength=len(number))
    mean = np.bincount(row, weights=each, minlength=len(number)) / np.maximum(count, 1)
    high, low = np.full(len(number), -np.inf), np.full(len(number), np.inf)
    np.maximum.at(high, row, each)
    np.minimum.at(low, row, each)
    found = (
        (len(prompts) - len(kept), "rows without a prompt or a score, left out"),
        (len(kept) - len(number), "rows repeat a prompt: merged, their differences averaged"),
        (int(((high > 0) & (low < 0)).sum()), "prompts on which rows contradict each other: their mean counts"),
    )
    return PairExamples(
        tuple(number),
        mean,
        tuple(groups[i] for i in first) if grouped else None,
        (*(note for part in parts for note in part.notes), *(f"{n:,} {what}" for n, what in found if n)),
    )


def held_out_rows(prompts: Sequence[str], share: float, *, seed: int) -> IntArray:
    """Rows of about `share` of the distinct prompts, chosen at random; equal prompts stay together.

    Raises:
        ValueError: `share` is not in [0, 1).
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"share is {share}, wanted a number in [0, 1)")
    distinct = sorted(set(prompts))
    chosen = np.random.default_rng(seed).permutation(len(distinct))[: round(share * len(distinct))]
    held = {distinct[i] for i in chosen}
    return np.flatnonzero([prompt in held for prompt in prompts])


def _from_scores(source: Source, *, fold: bool) -> PairExamples:
    table = read_labels(source, columns=("prompt", "strong", "weak", *(("fold",) if fold else ())))
    groups = tuple(table.column("fold")) if fold else None
    difference = table.scores("strong") - table.scores("weak")
    known = ~np.isnan(difference)
    notes = (
        (f"{counted(int((~known).sum()), 'row is', 'rows are')} not scored for both models, left out",)
        if not known.all()
        else ()
    )
    return PairExamples(tuple(prompt_texts(table)), difference, groups, notes).take(known)
