"""Prompts with the scores of a strong and a weak model, from tables of either shape.

* wide: `prompt` and one column of scores per model (`strong` and `weak`, or columns named after the models)
* long: `prompt, model, score` and perhaps `cost_usd`, one row per prompt and model
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pointsman.backends.data.tables import Source, iter_batches, read_table
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair

__all__ = ["GROUP_COLUMNS", "PairOutcomes", "holds_rows_per_model", "read_pair_outcomes"]

GROUP_COLUMNS = ("domain", "dataset", "category", "group")


@dataclass(frozen=True, slots=True, eq=False)
class PairOutcomes:
    """What two models scored on a set of prompts.

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

    def merged(self) -> "PairOutcomes":
        """One row per distinct prompt, with the means of its numbers and the first of its groups."""
        first, inverse = _distinct(self.prompts)
        if len(first) == len(self):
            return self

        def mean(values: FloatArray) -> FloatArray:
            return np.asarray(np.bincount(inverse, weights=values) / np.bincount(inverse))

        note = f"{len(self) - len(first):,} rows repeat a prompt: merged, their scores averaged"
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
    first = next(iter(iter_batches(source, batch_rows=1)), None)
    if first is None:
        raise DataError(f"{source} holds no rows")
    names = list(first.columns)
    group = group or next((name for name in GROUP_COLUMNS if name in names), None)
    if holds_rows_per_model(names):
        return _from_long(source, names, (strong, weak), group, columns, scale)
    pair = ModelPair(strong or "strong", weak or "weak")
    costs = [name for name in ("strong_usd", "weak_usd") if name in names]
    table = read_table(
        source, columns=["prompt", pair.strong, pair.weak, *([group] if group else []), *columns, *costs]
    )
    sides = [table.scores(name) for name in (pair.strong, pair.weak)]
    both = np.flatnonzero(~np.isnan(sides[0]) & ~np.isnan(sides[1]))
    if not both.size:
        raise DataError(f"{source}: no prompt has scores of both {pair.strong!r} and {pair.weak!r}")
    texts = table.texts("prompt")
    return PairOutcomes(
        prompts=tuple(texts[i] for i in both),
        strong=sides[0][both],
        weak=sides[1][both],
        pair=pair,
        source=str(source),
        scale=scale,
        group=np.array([str(table.column(group)[i]) for i in both]) if group else None,
        strong_usd=table.numbers("strong_usd")[both] if len(costs) == 2 else None,
        weak_usd=table.numbers("weak_usd")[both] if len(costs) == 2 else None,
        columns={name: table.numbers(name)[both] for name in columns},
        notes=_left_out(len(table) - both.size),
    ).merged()


def _from_long(
    source: Source,
    names: Sequence[str],
    pair: tuple[str | None, str | None],
    group: str | None,
    columns: Sequence[str],
    scale: tuple[float, float],
) -> PairOutcomes:
    costs = ["cost_usd"] if "cost_usd" in names else []
    table = read_table(source, columns=["prompt", "model", "score", *([group] if group else []), *columns, *costs])
    models = np.array(table.texts("model"))
    if pair[0] is None or pair[1] is None:
        raise DataError(f"{source} has a row per model: name the pair with --strong and --weak, of {_listed(models)}")
    for name in pair:
        if name not in models:
            raise DataError(f"{source} has no model {name!r}; its models are {_listed(models)}")
    prompts, values = table.texts("prompt"), table.scores("score")
    first, number = _distinct(prompts)
    sides = [_mean_by(number, len(first), (models == name) & ~np.isnan(values), values) for name in pair]
    both = ~np.isnan(sides[0]) & ~np.isnan(sides[1])
    if not both.any():
        raise DataError(f"{source}: no prompt has scores of both {pair[0]!r} and {pair[1]!r}")
    dollars = None
    if costs:
        known = np.array([np.nan if v is None else float(v) for v in table.column("cost_usd")])
        found = [_mean_by(number, len(first), (models == name) & ~np.isnan(known), known) for name in pair]
        dollars = found if not np.isnan(np.stack(found)[:, both]).any() else None
    left_out = int((~np.isnan(sides[0]) | ~np.isnan(sides[1])).sum() - both.sum())
    rows = first[both]
    return PairOutcomes(
        prompts=tuple(prompts[i] for i in rows),
        strong=sides[0][both],
        weak=sides[1][both],
        pair=ModelPair(*pair),
        source=str(source),
        scale=scale,
        group=np.array([str(table.column(group)[i]) for i in rows]) if group else None,
        strong_usd=dollars[0][both] if dollars else None,
        weak_usd=dollars[1][both] if dollars else None,
        columns={name: table.numbers(name)[rows] for name in columns},
        notes=_left_out(left_out),
    )


def _left_out(n_prompts: int) -> tuple[str, ...]:
    return (f"{n_prompts:,} prompts left out: not scored for both models",) if n_prompts else ()


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
