"""Battles from files and data sets, in the formats that are in use.

* labelled (RouteLLM): `prompt, model_a, model_b, winner`, the winner being model_a, model_b, tie or tie (bothbad)
* one-hot (lmsys-arena-human-preference-55k, also as Kaggle's CSV): `prompt, model_a, model_b, winner_model_a,
  winner_model_b, winner_tie`
* outcomes: `prompt, model, score`, or `prompt` and a column of scores per model: every two models that met on a prompt
  fought a battle
* the public layouts of `layouts`

Prompts are read by `labels.prompt_texts`: texts, turns, messages, `conversation_a`. Any model names are fine.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pointsman.backends.data.battle_sets import BattleReport, BattleSet, Finding
from pointsman.backends.data.labels import label_columns, prompt_texts, read_labels
from pointsman.backends.data.outcomes import holds_outcomes, outcome_battles, read_outcomes
from pointsman.backends.data.sources import Source, source_name, winner_labels
from pointsman.backends.data.tables import Table
from pointsman.core.arrays import FloatArray
from pointsman.core.battles import Battles
from pointsman.core.errors import DataError

__all__ = ["battles_from_table", "read_battles"]

WINNERS = {
    "model_a": 1.0,
    "model_b": 0.0,
    "tie": 0.5,
    "tie (bothbad)": 0.5,
    "both_bad": 0.5,
    "bothbad": 0.5,
    "tie (both bad)": 0.5,
    "tie (both good)": 0.5,
    "both_good": 0.5,
}
_ONE_HOT = {"winner_model_a": 1.0, "winner_model_b": 0.0, "winner_tie": 0.5, "winner_both_bad": 0.5}
_ONE_HOT_WANTED = tuple(_ONE_HOT)[:3]
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
    names = set(label_columns(source))
    if holds_outcomes(names, models):
        return _long_enough(outcome_battles(read_outcomes(source, models), **limits), min_chars)
    if set(_LABELLED) <= names:
        columns: Sequence[str] = _LABELLED
    elif {"prompt", "model_a", "model_b", *_ONE_HOT_WANTED} <= names:
        columns = ("prompt", "model_a", "model_b", *(name for name in _ONE_HOT if name in names))
    else:
        wide = ", ".join(models or ("strong", "weak"))
        raise DataError(
            f"{source_name(source)} has columns {', '.join(sorted(names))}; wanted {', '.join(_LABELLED)}, or prompt, "
            f"model_a, model_b, {', '.join(_ONE_HOT_WANTED)}, or prompt, model, score, or prompt, {wide}; "
            "name yours with --columns prompt=...,winner=... or rename them"
        )
    table = read_labels(source, columns=columns)
    return _long_enough(battles_from_table(table, average=average, winners=winner_labels(source)), min_chars)


def battles_from_table(table: Table, *, average: bool = True, winners: Mapping[str, str] | None = None) -> BattleSet:
    """Battles from the labelled or the one-hot columns of a table; see `read_battles`.

    Rows without a prompt, a model or a winner are dropped and reported.

    Args:
        winners: further labels of winners, each as one of `WINNERS`.

    Raises:
        DataError: a value is malformed; the message gives its row.
    """
    report = BattleReport(table.source, len(table))
    rows = np.arange(table.first_row, table.first_row + len(table))
    texts = prompt_texts(table)
    flags = [name for name in _ONE_HOT if name in table.columns] if "winner" not in table.columns else ["winner"]
    empty = np.array([not text.strip() for text in texts], dtype=bool)
    nameless = (table.missing("model_a") | table.missing("model_b")) & ~empty
    undecided = np.logical_and.reduce([table.missing(name) for name in flags]) & ~empty & ~nameless
    for what, dropped in (("empty prompt", empty), ("no model", nameless), ("no winner", undecided)):
        report = report.with_finding(Finding.of_rows(f"{what}, dropped", rows[dropped]))
    chosen = np.flatnonzero(~(empty | nameless | undecided))
    kept = table.take(chosen)
    if flags == ["winner"]:
        outcome = _labelled_outcomes(kept, winners, rows[chosen])
    else:
        outcome = _one_hot_outcomes(kept, flags, rows[chosen])
    models: dict[str, int] = {}
    sides = [
        np.array([models.setdefault(name, len(models)) for name in kept.texts(side)], dtype=np.int64)
        for side in ("model_a", "model_b")
    ]
    prompts: dict[str, int] = {}
    prompt = np.array([prompts.setdefault(texts[row], len(prompts)) for row in chosen], dtype=np.int64)
    battles = Battles(tuple(models), sides[0], sides[1], outcome, np.ones(len(kept)))
    found = BattleSet(battles, tuple(prompts), prompt, (report,))
    return _averaged(found, rows[chosen]) if average else found


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


def _labelled_outcomes(table: Table, winners: Mapping[str, str] | None, rows: np.ndarray) -> FloatArray:
    known = dict(WINNERS)
    for label, ours in (winners or {}).items():
        if ours not in WINNERS:
            raise DataError(f"winner {label}={ours}: {ours!r} is not one of {', '.join(WINNERS)}")
        known[label] = WINNERS[ours]
    sides = zip(table.column("winner"), table.column("model_a"), table.column("model_b"), strict=True)
    outcomes = [_outcome(label, known, a, b) for label, a, b in sides]
    unknown = [i for i, outcome in enumerate(outcomes) if outcome is None]
    if unknown:
        value = table.column("winner")[unknown[0]]
        raise DataError(
            f"{table.source}: unknown winner {value!r} in row {rows[unknown[0]]} ({len(unknown)} such rows), "
            f"wanted one of {', '.join(WINNERS)}, or the name of one of the two models; "
            "say what yours mean: --winner LABEL=model_a,LABEL=model_b,LABEL=tie"
        )
    return np.array(outcomes, dtype=np.float64)


def _outcome(label: object, known: Mapping[str, float], model_a: object, model_b: object) -> float | None:
    """Share of the win that goes to model_a, by a known label or by a model's name; None where it is neither."""
    text = str(label).strip()
    by_name = {} if model_a == model_b else {str(model_a): 1.0, str(model_b): 0.0}
    return next((labels[text] for labels in (known, by_name) if text in labels), known.get(text.lower()))


def _one_hot_outcomes(table: Table, names: Sequence[str], rows: np.ndarray) -> FloatArray:
    flags = np.stack([np.nan_to_num(table.scores(name), nan=0.0) for name in names], axis=1)
    wrong = np.flatnonzero(((flags != 0) & (flags != 1)).any(axis=1) | (flags.sum(axis=1) != 1))
    if wrong.size:
        raise DataError(
            f"{table.source}, row {rows[wrong[0]]}: {', '.join(names)} are {flags[wrong[0]].tolist()} "
            f"({wrong.size} such rows), wanted exactly one 1"
        )
    return np.asarray(flags @ np.array([_ONE_HOT[name] for name in names]))
