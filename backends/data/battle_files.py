"""Battles from files and data sets, in the formats that are in use.

* labelled (RouteLLM): `prompt, model_a, model_b, winner`, the winner being model_a, model_b, tie or tie (bothbad)
* one-hot (lmsys-arena-human-preference-55k, also as Kaggle's CSV): `prompt` (a JSON list of turns), `model_a, model_b,
  winner_model_a, winner_model_b, winner_tie`
* outcomes: `prompt, model, score`, or `prompt` and a column of scores per model: every two models that met on a prompt
  fought a battle

Of a conversation the first user turn counts. Any model names are fine.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pointsman.backends.data.battle_sets import BattleReport, BattleSet, Finding
from pointsman.backends.data.outcomes import holds_outcomes, outcome_battles, read_outcomes
from pointsman.backends.data.tables import Source, Table, column_names, read_table
from pointsman.core.arrays import FloatArray
from pointsman.core.battles import Battles
from pointsman.core.errors import DataError

__all__ = ["WINNERS", "battles_from_table", "read_battles"]

WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5}
_ONE_HOT = {"winner_model_a": 1.0, "winner_model_b": 0.0, "winner_tie": 0.5}
_LABELLED = ("prompt", "model_a", "model_b", "winner")


def read_battles(
    source: Source, *, models: Sequence[str] = (), average: bool = True, min_chars: int = 1, **limits: Any
) -> BattleSet:
    """Battles of a file or data set in any of the formats above.

    Args:
        models: whose columns of scores an outcome table may have, instead of `strong` and `weak`.
        average: several judgements of one prompt and pair (both orders, several judges) become one battle with the
            mean outcome; otherwise each is a battle.
        min_chars: shorter prompts are dropped.
        limits: for outcome tables: `margin`, `max_per_prompt`, `max_per_pair`, `seed` of `outcome_battles`.

    Raises:
        DataError: the source is malformed or in none of the formats; the message gives row numbers.
    """
    names = column_names(source)
    if holds_outcomes(names, models):
        return _long_enough(outcome_battles(read_outcomes(source, models), **limits), min_chars)
    if set(_LABELLED) <= names:
        columns: Sequence[str] = _LABELLED
    elif {"prompt", "model_a", "model_b", *_ONE_HOT} <= names:
        columns = ("prompt", "model_a", "model_b", *_ONE_HOT)
    else:
        wide = ", ".join(models or ("strong", "weak"))
        raise DataError(
            f"{source} has columns {', '.join(sorted(names))}; wanted {', '.join(_LABELLED)}, or prompt, model_a, "
            f"model_b, {', '.join(_ONE_HOT)}, or prompt, model, score, or prompt, {wide}; rename them"
        )
    return _long_enough(battles_from_table(read_table(source, columns=columns), average=average), min_chars)


def battles_from_table(table: Table, *, average: bool = True) -> BattleSet:
    """Battles from the labelled or the one-hot columns of a table; see `read_battles`."""
    one_hot = "winner" not in table.columns
    texts = [_first_turn(table, row, text) for row, text in enumerate(table.texts("prompt"))] if one_hot else None
    texts = texts if texts is not None else table.texts("prompt")
    outcome = _one_hot_outcomes(table) if one_hot else _labelled_outcomes(table)
    models: dict[str, int] = {}
    sides = [
        np.array([models.setdefault(name, len(models)) for name in table.texts(side)], dtype=np.int64)
        for side in ("model_a", "model_b")
    ]
    prompts: dict[str, int] = {}
    prompt = np.array([prompts.setdefault(text, len(prompts)) for text in texts], dtype=np.int64)
    report = BattleReport(table.source, len(table))
    empty = np.array([not text.strip() for text in texts], dtype=bool)
    rows = np.arange(table.first_row, table.first_row + len(table))
    report = report.with_finding(Finding.of_rows("empty prompt, dropped", rows[empty]))
    battles = Battles(tuple(models), sides[0], sides[1], outcome, np.ones(len(table)))
    found = BattleSet(battles, tuple(prompts), prompt, (report,)).take(~empty)
    return _averaged(found, rows[~empty]) if average else found


def _averaged(found: BattleSet, rows: np.ndarray) -> BattleSet:
    """One battle per prompt and pair of models, with the mean outcome of its judgements, in order of appearance."""
    b = found.battles
    low, high = np.minimum(b.model_a, b.model_b), np.maximum(b.model_a, b.model_b)
    key = (found.prompt * len(b.models) + low) * len(b.models) + high
    _, first, inverse, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    swapped = b.model_a != b.model_a[first][inverse]
    mean = np.bincount(inverse, weights=np.where(swapped, 1.0 - b.outcome, b.outcome), minlength=len(first)) / count
    order = np.argsort(first)
    again = np.setdiff1d(np.arange(len(key)), first)
    finding = Finding.of_rows("prompt and pair judged again, averaged", rows[again])
    kept = first[order]
    battles = Battles(b.models, b.model_a[kept], b.model_b[kept], mean[order], np.ones(len(kept)))
    return BattleSet(battles, found.prompts, found.prompt[kept], (found.reports[0].with_finding(finding),))


def _long_enough(found: BattleSet, min_chars: int) -> BattleSet:
    short = np.array([len(text.strip()) < min_chars for text in found.prompts], dtype=bool)
    return found.drop(short[found.prompt], f"prompt under {min_chars} characters") if short.any() else found


def _first_turn(table: Table, row: int, text: str) -> str:
    """First user turn of a conversation stored as a JSON list of turns; "" if that turn is null."""
    try:
        turns = json.loads(text)
    except (ValueError, RecursionError) as error:
        turns = error
    if not isinstance(turns, list) or not all(isinstance(turn, str | None) for turn in turns):
        where = f"{table.source}, row {table.first_row + row}"
        raise DataError(f"{where}: prompt is {text!r:.80}, wanted a JSON list of texts, the user's turns")
    return (turns[0] or "") if turns else ""


def _labelled_outcomes(table: Table) -> FloatArray:
    labels = table.column("winner")
    unknown = [row for row, label in enumerate(labels, table.first_row) if label not in WINNERS]
    if unknown:
        value = labels[unknown[0] - table.first_row]
        raise DataError(
            f"{table.source}: unknown winner {value!r} in row {unknown[0]} "
            f"({len(unknown)} such rows), wanted one of {', '.join(WINNERS)}; rename the labels"
        )
    return np.array([WINNERS[label] for label in labels], dtype=np.float64)


def _one_hot_outcomes(table: Table) -> FloatArray:
    flags = np.stack([table.numbers(name) for name in _ONE_HOT], axis=1)
    wrong = np.flatnonzero(((flags != 0) & (flags != 1)).any(axis=1) | (flags.sum(axis=1) != 1))
    if wrong.size:
        raise DataError(
            f"{table.source}, row {table.first_row + wrong[0]}: {', '.join(_ONE_HOT)} are {flags[wrong[0]].tolist()} "
            f"({wrong.size} such rows), wanted exactly one 1"
        )
    return np.asarray(flags @ np.array(list(_ONE_HOT.values())))
