"""Tables of what any number of models scored on prompts, and what it cost.

* long: `prompt, model, score` and perhaps `cost_usd, input_tokens, output_tokens`, one row per prompt and model
* wide: `prompt` and one column of scores per model, and perhaps `<model>_usd, <model>_input_tokens,
  <model>_output_tokens`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.backends.data.battle_files import read_battles
from pointsman.backends.data.labels import label_columns, read_labels
from pointsman.backends.data.sources import source_name
from pointsman.backends.data.tables import Source, Table
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.counted import counted
from pointsman.core.errors import DataError

__all__ = ["GROUP_COLUMNS", "ScoreTable", "check_candidates", "read_score_table"]

GROUP_COLUMNS = ("domain", "dataset", "category", "group")
_LONG = ("prompt", "model", "score")
_EXTRAS = {"usd": "cost_usd", "input_tokens": "input_tokens", "output_tokens": "output_tokens"}


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Scores, bills and tokens of models on prompts; NaN where not known.

    Attributes:
        prompts: distinct texts.
        models: distinct names.
        scores: in [0, 1], shape (n_prompts, n_models).
        usd, input_tokens, output_tokens: of each answer, same shape.
        group: name of each prompt's data set, shape (n_prompts,); None where the table has none.
        source: where it is from.
        notes: what became of rows that do not count.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    scores: FloatArray
    usd: FloatArray
    input_tokens: FloatArray
    output_tokens: FloatArray
    group: np.ndarray | None = None
    source: str = "table"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: IntArray) -> "ScoreTable":
        """Some prompts, in that order."""
        return replace(
            self,
            prompts=tuple(self.prompts[i] for i in rows),
            group=None if self.group is None else self.group[rows],
            **{name: getattr(self, name)[rows] for name in ("scores", *_EXTRAS)},
        )

    def of(self, candidates: Sequence[str]) -> "ScoreTable":
        """The columns of some models, in that order.

        Raises:
            DataError: see `check_candidates`.
        """
        check_candidates(self, candidates)
        columns = [self.models.index(name) for name in candidates]
        return replace(
            self,
            models=tuple(candidates),
            **{name: getattr(self, name)[:, columns] for name in ("scores", *_EXTRAS)},
        )


def check_candidates(table: ScoreTable, candidates: Sequence[str]) -> None:
    """Checks that candidates are at least two, distinct, and scored by the table.

    Raises:
        DataError: they are not; the message lists the models that there are.
    """
    known = ", ".join(table.models[:40]) + (", ..." if len(table.models) > 40 else "")
    if len(candidates) < 2:
        raise DataError(
            f"candidates are {list(candidates)}, wanted at least two of {known}; the first is the reference"
        )
    for i, name in enumerate(candidates):
        if name in candidates[:i]:
            raise DataError(f"candidate {name!r} is named twice: name each once")
        if name not in table.models:
            raise DataError(
                f"{table.source} has no scores of candidate {name!r}; it has {known}: add its scores, or leave it out"
            )
        if not np.isfinite(table.scores[:, table.models.index(name)]).any():
            raise DataError(f"{table.source}: all scores of candidate {name!r} are missing: leave it out or score it")


def read_score_table(
    sources: Sequence[Source], models: Sequence[str] = (), *, scale: tuple[float, float] = (0.0, 1.0)
) -> ScoreTable:
    """All tables as one; a model and a prompt that meet again are averaged.

    Args:
        models: the columns of scores of a wide table; one alone is the model of a table of prompts and scores.
        scale: lowest and highest score of the sources, which become 0 and 1.

    Raises:
        DataError: a source is malformed, has neither form, lacks a model's column, or a score leaves [0, 1].
    """
    parts = [_read(source, models) for source in sources]
    source = ", ".join(source_name(source) for source in sources)
    prompts = tuple(dict.fromkeys(text for part in parts for text in part.prompt))
    names = tuple(dict.fromkeys(name for part in parts for name in part.model))
    if not prompts:
        raise DataError(f"{source} holds no scored prompt")
    row = {text: i for i, text in enumerate(prompts)}
    column = {name: i for i, name in enumerate(names)}
    at = np.array(
        [row[t] * len(names) + column[n] for part in parts for t, n in zip(part.prompt, part.model, strict=True)]
    )

    def dense(name: str) -> FloatArray:
        values = np.concatenate([part.numbers[name] for part in parts])
        known = np.isfinite(values)
        size = len(prompts) * len(names)
        count = np.bincount(at[known], minlength=size)
        total = np.bincount(at[known], weights=values[known], minlength=size)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(len(prompts), len(names))

    groups = {text: name for part in parts for text, name in zip(part.prompt, part.group, strict=False)}
    table = ScoreTable(
        prompts,
        names,
        (dense("score") - scale[0]) / (scale[1] - scale[0]),
        *(dense(name) for name in _EXTRAS),
        group=np.array([groups.get(text, "") for text in prompts]) if groups else None,
        source=source,
        notes=tuple(note for part in parts for note in part.notes),
    )
    _check_scores(table)
    return table


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Scored rows of one source: `numbers` holds score, usd, input_tokens and output_tokens, NaN where absent."""

    prompt: list[str]
    model: list[str]
    numbers: Mapping[str, FloatArray]
    group: list[str]
    notes: list[str]


def _check_scores(table: ScoreTable) -> None:
    bad = np.argwhere(np.isfinite(table.scores) & ~((table.scores >= 0.0) & (table.scores <= 1.0)))
    if len(bad):
        i, j = bad[0]
        raise DataError(
            f"{table.source}: {table.models[j]!r} scores {table.scores[i, j]:g} on prompt {table.prompts[i]!r:.60} "
            f"({len(bad)} such), wanted numbers in [0, 1]: say their range with --scale LOW HIGH, or rescale them"
        )
    if (table.usd < 0.0).any():
        raise DataError(f"{table.source}: a cost in dollars is negative")


def _read(source: Source, models: Sequence[str]) -> _Rows:
    names = set(label_columns(source))
    group = next((name for name in GROUP_COLUMNS if name in names), None)
    of_one = len(models) == 1 and models[0] not in names and "model" not in names and {"prompt", "score"} <= names
    if set(_LONG) <= names or of_one:
        columns = {"score": "score", **{name: column for name, column in _EXTRAS.items() if column in names}}
        wanted = ["prompt", *([] if of_one else ["model"]), *columns.values(), *([group] if group else [])]
        table = read_labels(source, columns=wanted)
        if of_one:
            return _kept(table, [models[0]] * len(table), columns, group)
        table = table.take(~table.missing("model"))
        return _kept(table, table.texts("model"), columns, group)
    if {"model_a", "model_b"} <= names and not set(models) <= names:
        return _of_battles(source, models)
    if not models or "prompt" not in names:
        raise DataError(
            f"{source_name(source)} has columns {', '.join(sorted(names))}; wanted {', '.join(_LONG)} and perhaps "
            f"{', '.join(_EXTRAS.values())}, or prompt and a column of scores for each candidate"
        )
    if missing := [model for model in models if model not in names]:
        raise DataError(
            f"{source_name(source)} has no column {', '.join(map(repr, missing))}; it has {', '.join(sorted(names))}: "
            "name its columns of scores as candidates, or rename them"
        )
    columns_of = [{"score": model, **{name: f"{model}_{name}" for name in _EXTRAS}} for model in models]
    found = [{name: column for name, column in columns.items() if column in names} for columns in columns_of]
    every = [column for columns in found for column in columns.values()]
    table = read_labels(source, columns=["prompt", *every, *([group] if group else [])])
    parts = [_kept(table, [model] * len(table), found[i], group) for i, model in enumerate(models)]
    return _Rows(
        [text for part in parts for text in part.prompt],
        [name for part in parts for name in part.model],
        {name: np.concatenate([part.numbers[name] for part in parts]) for name in parts[0].numbers},
        [name for part in parts for name in part.group],
        [f"{models[i]}: {note}" for i, part in enumerate(parts) for note in part.notes],
    )


def _of_battles(source: Source, models: Sequence[str]) -> _Rows:
    """Battles of two models as outcomes: each side's score is its share of the win."""
    if len(models) != 2:
        raise DataError(
            f"{source_name(source)} holds battles, whose scores depend on the opponent: name two candidates, or train "
            "`mf` or `sw-ranking` for more"
        )
    found = read_battles(source)
    places = {name: i for i, name in enumerate(found.battles.models)}
    if missing := [name for name in models if name not in places]:
        raise DataError(
            f"{source_name(source)} has no battle of {missing[0]!r}; its models are {', '.join(found.battles.models)}"
        )
    first, second = found.battles.model_a, found.battles.model_b
    pair = [places[name] for name in models]
    met = np.flatnonzero(np.isin(first, pair) & np.isin(second, pair) & (first != second))
    prompts = [found.prompts[i] for i in found.prompt[met]]
    share = found.battles.outcome[met]
    scores = np.concatenate([share, 1.0 - share])
    sides = [*first[met], *second[met]]
    absent = np.full(len(scores), np.nan)
    names = [found.battles.models[i] for i in sides]
    note = f"{counted(len(met), 'battle')} of the two: a score is the share of the win"
    return _Rows([*prompts, *prompts], names, {"score": scores, **dict.fromkeys(_EXTRAS, absent)}, [], [note])


def _kept(table: Table, model: Sequence[str], columns: Mapping[str, str], group: str | None) -> _Rows:
    """The rows with a prompt and a score."""
    texts = table.texts("prompt")
    absent = np.full(len(table), np.nan)
    numbers = {name: table.scores(columns[name]) if name in columns else absent for name in ("score", *_EXTRAS)}
    filled = np.array([bool(text.strip()) for text in texts], dtype=bool)
    scored = np.isfinite(numbers["score"])
    kept = np.flatnonzero(filled & scored)
    groups = table.column(group) if group else ()
    left_out = {"an empty prompt": int((~filled).sum()), "no score": int((filled & ~scored).sum())}
    return _Rows(
        [texts[i] for i in kept],
        [model[i] for i in kept],
        {name: values[kept] for name, values in numbers.items()},
        [str(groups[i]) for i in kept] if group else [],
        [f"{table.source}: {counted(count, 'row')} with {what} left out" for what, count in left_out.items() if count],
    )
