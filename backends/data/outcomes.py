"""Outcome tables: how well each model did on each prompt, and the battles that follow from it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.backends.data.battle_sets import BattleReport, BattleSet, Finding
from pointsman.backends.data.labels import label_columns, prompt_texts, read_labels
from pointsman.backends.data.sources import Source, source_name
from pointsman.backends.data.tables import Table
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.battles import Battles
from pointsman.core.errors import DataError

__all__ = ["Outcomes", "holds_outcomes", "merge_outcomes", "outcome_battles", "outcomes_from_table", "read_outcomes"]

_LONG = ("prompt", "model", "score")
_WIDE = ("prompt", "strong", "weak")


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Scores of models on prompts; a model and a prompt meet at most once.

    Attributes:
        prompts, models: distinct names; `prompt` and `model` index into them.
        prompt, model: shape (n_outcomes,), sorted by prompt, then model.
        score: higher is better, comparable within a prompt only, shape (n_outcomes,).
        reports: what became of the rows, one per source.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    prompt: IntArray
    model: IntArray
    score: FloatArray
    reports: tuple[BattleReport, ...] = ()

    def __len__(self) -> int:
        return len(self.score)


def holds_outcomes(names: Collection[str], models: Sequence[str] = ()) -> bool:
    """Whether a table with these columns is an outcome table; see `read_outcomes`."""
    return "model_a" not in names and (set(_LONG) <= set(names) or bool(_scored_models(names, models)))


def read_outcomes(source: Source, models: Sequence[str] = ()) -> Outcomes:
    """An outcome table from a file or data set; see `tables.read_table`.

    Its columns are `prompt`, `model`, `score`; or `prompt` and a column of scores for each of `models`, which are
    `strong` and `weak` if the table has no columns of their names.

    Raises:
        DataError: the source is malformed or has other columns; the message gives the row.
    """
    names = set(label_columns(source))
    if not holds_outcomes(names, models):
        wide = ", ".join(("prompt", *(models or _WIDE[1:])))
        raise DataError(
            f"{source_name(source)} has columns {', '.join(sorted(names))}; wanted outcomes: {', '.join(_LONG)}, or "
            + (
                f"{wide}; battles are for `train mf` and `train sw-ranking`"
                if "model_a" in names
                else f"{wide}; name yours with --columns prompt=...,score=... or rename them"
            )
        )
    if set(_LONG) <= names:
        return outcomes_from_table(read_labels(source, columns=_LONG))
    scored = _scored_models(names, models)
    table = read_labels(source, columns=("prompt", *scored))
    return merge_outcomes([outcomes_from_table(_scores_of(name, table)) for name in scored])


def outcomes_from_table(table: Table) -> Outcomes:
    """Outcomes from columns `prompt`, `model`, `score`.

    Rows without a prompt, a model or a score are dropped; repeated outcomes of one model on one prompt are averaged;
    all are reported.

    Raises:
        DataError: a column is missing, or a value malformed; the message gives its row.
    """
    texts, score = prompt_texts(table), table.scores("score")
    rows = np.arange(table.first_row, table.first_row + len(table))
    kept = np.array([bool(text.strip()) for text in texts], dtype=bool)
    report = BattleReport(table.source, len(table)).with_finding(Finding.of_rows("empty prompt, dropped", rows[~kept]))
    nameless = table.missing("model") & kept
    report = report.with_finding(Finding.of_rows("no model, dropped", rows[nameless]))
    kept &= ~nameless
    unscored = np.isnan(score) & kept
    report = report.with_finding(Finding.of_rows("no score, dropped", rows[unscored]))
    kept &= ~unscored
    chosen = np.flatnonzero(kept)
    prompts, prompt = _factorize([texts[i] for i in chosen])
    models, model = _factorize(table.take(chosen).texts("model"))
    found, repeated = _averaged(prompts, models, prompt, model, score[kept])
    again = Finding.of_rows("model and prompt met again, averaged", rows[kept][repeated])
    return replace(found, reports=(report.with_finding(again),))


def merge_outcomes(tables: Sequence[Outcomes]) -> Outcomes:
    """Several tables as one. Models of one name are one model, equal prompts one prompt; what meets again is averaged.

    Raises:
        DataError: there are no outcomes.
    """
    reports = tuple(report for table in tables for report in table.reports)
    if not sum(map(len, tables)):
        raise DataError("no outcomes are left\n" + "\n".join(map(str, reports)))
    prompts, prompt = _factorize([table.prompts[i] for table in tables for i in table.prompt])
    models, model = _factorize([table.models[i] for table in tables for i in table.model])
    score = np.concatenate([table.score for table in tables])
    return replace(_averaged(prompts, models, prompt, model, score)[0], reports=reports)


def outcome_battles(
    outcomes: Outcomes,
    *,
    margin: float = 0.0,
    max_per_prompt: int | None = None,
    max_per_pair: int | None = None,
    seed: int = 0,
) -> BattleSet:
    """Battles of all pairs of models that met on a prompt: the higher score wins, equal scores are a tie.

    Args:
        margin: scores that differ by no more than this are a tie.
        max_per_prompt: keep at most this many battles of a prompt, chosen at random.
        max_per_pair: keep at most this many battles of a pair of models, chosen at random.
        seed: of the choice.

    Raises:
        ValueError: `margin` is negative, or a maximum is below 1.
    """
    if margin < 0 or min(max_per_prompt or 1, max_per_pair or 1) < 1:
        limits = f"margin {margin}, max_per_prompt {max_per_prompt}, max_per_pair {max_per_pair}"
        raise ValueError(f"{limits}: wanted a margin of at least 0 and maxima of at least 1")
    first, second = _pairs(outcomes.prompt)
    gap = outcomes.score[first] - outcomes.score[second]
    outcome = np.where(np.abs(gap) <= margin, 0.5, (gap > 0).astype(float))
    a, b, prompt = outcomes.model[first], outcomes.model[second], outcomes.prompt[first]
    rng = np.random.default_rng(seed)
    kept = np.arange(len(prompt))
    pair = np.minimum(a, b) * len(outcomes.models) + np.maximum(a, b)
    for limit, group in ((max_per_prompt, prompt), (max_per_pair, pair)):
        if limit is not None:
            kept = kept[_at_most(group[kept], limit, rng)]
    *earlier, report = outcomes.reports or (BattleReport("outcomes", len(outcomes)),)
    report = report.with_finding(Finding("battles made", len(prompt)))
    report = report.with_finding(Finding("battles left out by the limits", len(prompt) - len(kept)))
    battles = Battles(outcomes.models, a[kept], b[kept], outcome[kept], np.ones(len(kept)))
    return BattleSet(battles, outcomes.prompts, prompt[kept], (*earlier, report))


def _scored_models(names: Collection[str], models: Sequence[str]) -> tuple[str, ...]:
    """The models of a table with a column of scores for each; empty for any other table."""
    wanted = (tuple(dict.fromkeys(models)), _WIDE[1:])
    return next((some for some in wanted if some and {"prompt", *some} <= set(names)), ())


def _scores_of(model: str, table: Table) -> Table:
    columns = {"prompt": table.columns["prompt"], "model": [model] * len(table), "score": table.columns[model]}
    return Table(columns, f"{table.source}, column {model}", table.first_row)


def _factorize(names: list[str]) -> tuple[tuple[str, ...], IntArray]:
    number = {name: row for row, name in enumerate(dict.fromkeys(names))}
    return tuple(number), np.array([number[name] for name in names], dtype=np.int64)


def _averaged(
    prompts: tuple[str, ...], models: tuple[str, ...], prompt: IntArray, model: IntArray, score: FloatArray
) -> tuple[Outcomes, IntArray]:
    """Outcomes with one score per prompt and model, sorted, and the rows that repeat an earlier one."""
    n_models = max(len(models), 1)
    key, first, inverse, count = np.unique(
        prompt * n_models + model, return_index=True, return_inverse=True, return_counts=True
    )
    mean = np.bincount(inverse, weights=score, minlength=len(key)) / count
    return Outcomes(prompts, models, key // n_models, key % n_models, mean), np.setdiff1d(np.arange(len(prompt)), first)


def _pairs(group: IntArray) -> tuple[IntArray, IntArray]:
    """All pairs (i, j), i < j, of rows of one group; groups are contiguous."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for size in np.unique(sizes):
        i, j = np.triu_indices(size, k=1)
        of_size = starts[sizes == size][:, None]
        first.append((of_size + i).ravel())
        second.append((of_size + j).ravel())
    a, b = np.concatenate(first), np.concatenate(second)
    order = np.argsort(a, kind="stable")
    return a[order], b[order]


def _at_most(group: IntArray, limit: int, rng: np.random.Generator) -> IntArray:
    """Rows that keep at most `limit` of every group, chosen at random, in order."""
    order = np.lexsort((rng.random(len(group)), group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    return np.sort(order[rank < limit])
