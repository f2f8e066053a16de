"""Prompts with the scores of a strong and a weak model, from tables of either shape.

* wide: `prompt` and one column of scores per model (`strong` and `weak`, or columns named after the models)
* long: `prompt, model, score` and perhaps `cost_usd`, one row per prompt and model
* battles between the two: a side's score is its share of the win
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pointsman.backends.data.battle_files import read_battles
from pointsman.backends.data.labels import label_columns, read_labels
from pointsman.backends.data.sources import Source, source_name
from pointsman.backends.data.tables import Table
from pointsman.backends.language.examples import from_battles, merge_examples
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair

__all__ = ["GROUP_COLUMNS", "PairOutcomes", "holds_rows_per_model", "read_pair_outcomes"]

GROUP_COLUMNS = ("domain", "dataset", "category", "group")


@dataclass(frozen=True, slots=True, eq=False)
class PairOutcomes:
    """Scores of two models on a set of prompts.

    Attributes:
        prompts: texts.
        strong, weak: scores, shape (n_prompts,).
        pair: names of the models.
        source: where the outcomes come from.
        scale: lowest and highest score possible.
        group: group of each prompt (data set, domain), or None.
        strong_usd, weak_usd: cost of each prompt in dollars, shape (n_prompts,), or None.
        columns: further numbers per prompt, such as win rates that were computed before.
        notes: what a reader must know: rows merged or left out.
    """

    prompts: tuple[str, ...]
    strong: FloatArray
    weak: FloatArray
    pair: ModelPair
    source: str
    scale: tuple[float, float] = (0.0, 1.0)
    group: np.ndarray | None = None
    strong_usd: FloatArray | None = None
    weak_usd: FloatArray | None = None
    columns: Mapping[str, FloatArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.scale
        for name, values in (("strong", self.strong), ("weak", self.weak)):
            bad = np.flatnonzero(~((values >= low) & (values <= high)))
            if bad.size:
                raise DataError(
                    f"{self.source}: {name} score is {values[bad[0]]} for prompt {self.prompts[bad[0]]!r:.60} "
                    f"({bad.size} such), wanted a number in [{low}, {high}]; name another range with --scale"
                )

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: IntArray) -> "PairOutcomes":
        """Some prompts, in that order."""
        return replace(
            self,
            prompts=tuple(self.prompts[row] for row in rows),
            strong=self.strong[rows],
            weak=self.weak[rows],
            group=None if self.group is None else self.group[rows],
            strong_usd=None if self.strong_usd is None else self.strong_usd[rows],
            weak_usd=None if self.weak_usd is None else self.weak_usd[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )

    def merged(self) -> "PairOutcomes":
        """One row per distinct prompt, with the means of its numbers and the first of its groups."""
        first, inverse = _distinct(self.prompts)
        if len(first) == len(self):
            return self

        def mean(values: FloatArray) -> FloatArray:
            return np.asarray(np.bincount(inverse, weights=values) / np.bincount(inverse))

        note = (
            f"{counted(len(self) - len(first), 'row repeats', 'rows repeat')} a prompt: merged, their scores averaged"
        )
        return replace(
            self,
            prompts=tuple(self.prompts[i] for i in first),
            strong=mean(self.strong),
            weak=mean(self.weak),
            group=None if self.group is None else self.group[first],
            strong_usd=None if self.strong_usd is None else mean(self.strong_usd),
            weak_usd=None if self.weak_usd is None else mean(self.weak_usd),
            columns={name: mean(values) for name, values in self.columns.items()},
            notes=(*self.notes, note),
        )


def holds_rows_per_model(names: Collection[str]) -> bool:
    """Whether a table with these columns is a long one."""
    return {"model", "score"} <= set(names)


def read_pair_outcomes(
    source: Source,
    *,
    strong: str | None = None,
    weak: str | None = None,
    group: str | None = None,
    columns: Sequence[str] = (),
    scale: tuple[float, float] = (0.0, 1.0),
) -> PairOutcomes:
    """Outcomes of a pair of models from a table, one row per distinct prompt.

    Args:
        strong, weak: names of the models, as columns (wide) or in column `model` (long); in a wide table the columns
            `strong` and `weak` if None.
        group: column that names each prompt's group; the first of `GROUP_COLUMNS` that exists if None.
        columns: further columns of numbers to keep; of a long table the first row of each prompt counts.
        scale: lowest and highest score possible.

    Raises:
        DataError: the table is malformed, a model or a column is missing, or a score leaves the scale.
    """
    names = label_columns(source)
    group = group or next((name for name in GROUP_COLUMNS if name in names), None)
    if holds_rows_per_model(names):
        return _from_long(source, names, (strong, weak), group, columns, scale)
    pair = ModelPair(strong or "strong", weak or "weak")
    if "model_a" in names and not {pair.strong, pair.weak} & set(names):
        return _from_battles(source, pair)
    costs = [name for name in ("strong_usd", "weak_usd") if name in names]
    wanted = ["prompt", pair.strong, pair.weak, *([group] if group else []), *columns, *costs]
    table = _with_prompts(read_labels(source, columns=wanted))
    sides = [table.scores(name) for name in (pair.strong, pair.weak)]
    both = np.flatnonzero(~np.isnan(sides[0]) & ~np.isnan(sides[1]))
    if not both.size:
        raise DataError(f"{source_name(source)}: no prompt has scores of both {pair.strong!r} and {pair.weak!r}")
    dollars = [table.scores(name)[both] for name in costs] if len(costs) == 2 else []
    return PairOutcomes(
        prompts=tuple(table.columns["prompt"][i] for i in both),
        strong=sides[0][both],
        weak=sides[1][both],
        pair=pair,
        source=source_name(source),
        scale=scale,
        group=np.array([str(table.column(group)[i]) for i in both]) if group else None,
        strong_usd=dollars[0] if _known(dollars) else None,
        weak_usd=dollars[1] if _known(dollars) else None,
        columns={name: table.take(both).numbers(name) for name in columns},
        notes=(*_left_out(len(table) - both.size), *_unknown(dollars)),
    ).merged()


def _from_battles(source: Source, pair: ModelPair) -> PairOutcomes:
    """Battles between the two models as outcomes: each side's score is its share of the win, whatever the scale."""
    found = merge_examples([from_battles(read_battles(source), pair)])
    share = (1.0 + found.difference) / 2.0
    note = f"{counted(len(found), 'prompt')} on which the two models met: a score is the share of the win"
    return PairOutcomes(found.prompts, share, 1.0 - share, pair, source_name(source), notes=(note, *found.notes))


def _with_prompts(table: Table) -> Table:
    """The rows that have a prompt."""
    return table.take(np.array([bool(text.strip()) for text in table.columns["prompt"]], dtype=bool))


def _known(dollars: Sequence[FloatArray]) -> bool:
    return bool(dollars) and not any(np.isnan(side).any() for side in dollars)


def _all_unknown(dollars: Sequence[FloatArray]) -> bool:
    return all(np.isnan(side).all() for side in dollars)


def _unknown(dollars: Sequence[FloatArray]) -> tuple[str, ...]:
    n = int(np.isnan(np.stack(dollars)).any(axis=0).sum()) if dollars else 0
    return (
        (f"{counted(n, 'prompt has', 'prompts have')} no cost for one of the models: no dollars are reported",)
        if n
        else ()
    )


def _from_long(
    source: Source,
    names: Sequence[str],
    pair: tuple[str | None, str | None],
    group: str | None,
    columns: Sequence[str],
    scale: tuple[float, float],
) -> PairOutcomes:
    costs = ["cost_usd"] if "cost_usd" in names else []
    wanted = ["prompt", "model", "score", *([group] if group else []), *columns, *costs]
    table = _with_prompts(read_labels(source, columns=wanted))
    table = table.take(~table.missing("model"))
    group = None if group and table.missing(group).all() else group
    models = np.array(table.texts("model"))
    if pair[0] is None or pair[1] is None:
        raise DataError(
            f"{source_name(source)} has a row per model: name the pair with --strong and --weak, of {_listed(models)}"
        )
    for name in pair:
        if name not in models:
            raise DataError(f"{source_name(source)} has no model {name!r}; its models are {_listed(models)}")
    prompts, values = table.columns["prompt"], table.scores("score")
    first, number = _distinct(prompts)
    sides = [_mean_by(number, len(first), (models == name) & ~np.isnan(values), values) for name in pair]
    both = ~np.isnan(sides[0]) & ~np.isnan(sides[1])
    if not both.any():
        raise DataError(f"{source_name(source)}: no prompt has scores of both {pair[0]!r} and {pair[1]!r}")
    dollars: list[FloatArray] = []
    if costs:
        known = table.scores("cost_usd")
        dollars = [_mean_by(number, len(first), (models == name) & ~np.isnan(known), known)[both] for name in pair]
    left_out = int((~np.isnan(sides[0]) | ~np.isnan(sides[1])).sum() - both.sum())
    rows = first[both]
    return PairOutcomes(
        prompts=tuple(prompts[i] for i in rows),
        strong=sides[0][both],
        weak=sides[1][both],
        pair=ModelPair(pair[0], pair[1]),
        source=source_name(source),
        scale=scale,
        group=np.array([str(table.column(group)[i]) for i in rows]) if group else None,
        strong_usd=dollars[0] if _known(dollars) else None,
        weak_usd=dollars[1] if _known(dollars) else None,
        columns={name: table.take(rows).numbers(name) for name in columns},
        notes=(*_left_out(left_out), *(_unknown(dollars) if costs and not _all_unknown(dollars) else ())),
    )


def _left_out(n_prompts: int) -> tuple[str, ...]:
    return (f"{counted(n_prompts, 'prompt')} left out: not scored for both models",) if n_prompts else ()


def _distinct(prompts: Sequence[str]) -> tuple[IntArray, IntArray]:
    """First row of every distinct prompt, and the number of each row's prompt, in order of appearance."""
    number: dict[str, int] = {}
    inverse = np.array([number.setdefault(prompt, len(number)) for prompt in prompts], dtype=np.int64)
    return np.unique(inverse, return_index=True)[1].astype(np.int64), inverse


def _mean_by(number: IntArray, n: int, rows: np.ndarray, values: FloatArray) -> FloatArray:
    """Mean value per number over some rows; NaN where there is none."""
    count = np.bincount(number[rows], minlength=n)
    total = np.bincount(number[rows], weights=values[rows], minlength=n)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _listed(models: np.ndarray) -> str:
    names: list[Any] = np.unique(models).tolist()
    return ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
