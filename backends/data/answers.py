"""Tables of answers: what models answered to prompts, what that scored, and what is known of each answer.

* long: `prompt, model, score` and any of `answer, confidence, logprobs, output_tokens, cost_usd, latency_ms,
  finish_reason`, one row per prompt and model
* wide: `prompt`, a column of scores per model, and `<model>_answer`, `<model>_confidence`, ... beside it
* battles, as `pointsman judge` writes them: `prompt, model_a, model_b, winner` with `answer_a`, `signals_a`, ...; a
  model's score is its mean share of the win

`signals` may stand for an answer: what `core.answer_signals` reads of its text and log-probabilities, as a mapping or
its JSON text; they count before the text. A column `embedding` holds those of prompts whose text was not kept.

`logprobs` holds a list of the tokens' log-probabilities, or its JSON text. Of rows that repeat a prompt and a model the
first counts.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pointsman.backends.data.answer_rows import ANSWER_FACTS, row_answers
from pointsman.backends.data.battle_sets import BattleReport, Finding
from pointsman.backends.data.labels import read_labels
from pointsman.backends.data.sources import Source, source_name
from pointsman.backends.data.tables import Table
from pointsman.backends.data.values import is_missing
from pointsman.core.answer_signals import Answer, KnownSignals
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.errors import DataError

__all__ = ["AnswerTable", "read_answers", "wide_answers"]

_COSTS = ("cost_usd", "latency_ms")
_KEPT = {"answer", "signals"}
_SHARES = {"model_a": 1.0, "model_b": 0.0}


@dataclass(frozen=True, slots=True, eq=False)
class AnswerTable:
    """Answers and scores of models on the prompts that strong and weak model both answered.

    Attributes:
        prompts: distinct texts.
        models: the strong one first, the weak one second, then others whose answers are useful for training.
        score: shape (n_prompts, n_models); NaN where a model was not scored.
        usd, seconds: likewise; NaN where they are not known.
        answers: per model, per prompt: with its text, or its signals alone; None where there is neither.
        groups: data set of each prompt, or None.
        report: what was done with the rows.
        embeddings: of the prompts where the table has them all, float32, shape (n_prompts, dim), or None.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    score: FloatArray
    usd: FloatArray
    seconds: FloatArray
    answers: tuple[tuple[Answer | KnownSignals | None, ...], ...]
    groups: tuple[str, ...] | None
    report: BattleReport
    embeddings: Float32Array | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, chosen: Sequence[int]) -> "AnswerTable":
        """Some of the prompts."""
        return AnswerTable(
            tuple(self.prompts[i] for i in chosen),
            self.models,
            self.score[chosen],
            self.usd[chosen],
            self.seconds[chosen],
            tuple(tuple(of_model[i] for i in chosen) for of_model in self.answers),
            None if self.groups is None else tuple(self.groups[i] for i in chosen),
            self.report,
            None if self.embeddings is None else self.embeddings[chosen],
        )

    def pair(self, strong: str, weak: str) -> "AnswerTable":
        """The same with another pair in front: the prompts that both of its models answered."""
        rest = [name for name in self.models if name not in (strong, weak)]
        order = [self.models.index(name) for name in (strong, weak, *rest)]
        both = ~np.isnan(self.score[:, order[:2]]).any(axis=1)
        both &= np.array([answer is not None for answer in self.answers[order[1]]])
        moved = replace(
            self,
            models=(strong, weak, *rest),
            score=self.score[:, order],
            usd=self.usd[:, order],
            seconds=self.seconds[:, order],
            answers=tuple(self.answers[k] for k in order),
        )
        return moved.rows(np.flatnonzero(both).tolist())


def read_answers(source: Source, *, strong: str, weak: str) -> AnswerTable:
    """The prompts that both models answered, with the weak model's answers.

    Raises:
        DataError: a model, its scores or the weak model's answers are missing, or a value is malformed; the message
            gives the row.
    """
    table = read_labels(source)
    names = set(table.columns)
    source = source_name(source)
    if strong == weak:
        raise DataError(f"strong and weak model are both {strong!r}, wanted two models")
    if {"model_a", "model_b", "winner"} <= names:
        table = _sides(table)
        names = set(table.columns)
    if {"model", "score"} <= names:
        found = _by_model(table)
    else:
        found = {name: wide_answers(table, name) for name in (strong, weak)}
    for name in (strong, weak):
        if name not in found:
            raise DataError(f"{source} has no model {name!r}; its models are {', '.join(sorted(found))}")
    if not _KEPT & set(found[weak].columns):
        wanted = "answer" if "model" in names else f"{weak}_answer"
        raise DataError(f"{source} has no column {wanted!r}: a verifier reads answers; add what {weak!r} answered")
    others = [name for name in found if name not in (strong, weak) and _KEPT & set(found[name].columns)]
    return _assembled(source, table, found, (strong, weak, *others))


def _sides(battles: Table) -> Table:
    """A row per prompt and model of a table of battles: the mean share of the win, and what is known of the answer."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    won: dict[tuple[str, str], list[float]] = {}
    prompts, winners = battles.texts("prompt"), battles.texts("winner")
    for side in ("a", "b"):
        facts = {
            name: battles.columns[f"{name}_{side}"] for name in ANSWER_FACTS if f"{name}_{side}" in battles.columns
        }
        for i, model in enumerate(battles.texts(f"model_{side}")):
            key, share = (prompts[i], model), _SHARES.get(winners[i], 0.5)
            rows.setdefault(key, {name: values[i] for name, values in facts.items()})
            won.setdefault(key, []).append(share if side == "a" else 1.0 - share)
    names = [name for name in ANSWER_FACTS if any(name in row for row in rows.values())]
    columns: dict[str, Sequence[Any]] = {
        "prompt": [prompt for prompt, _ in rows],
        "model": [model for _, model in rows],
        "score": [sum(shares) / len(shares) for shares in won.values()],
        **{name: [row.get(name) for row in rows.values()] for name in names},
    }
    return Table(columns, battles.source)


def _by_model(table: Table) -> dict[str, Table]:
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(table.texts("model")):
        rows.setdefault(name, []).append(i)
    return {
        name: Table({key: [values[i] for i in chosen] for key, values in table.columns.items()}, table.source)
        for name, chosen in rows.items()
    }


def wide_answers(table: Table, model: str) -> Table:
    """One model's columns of a wide table, under the names of a long one.

    Raises:
        DataError: the table has no answers of the model; the message lists its columns.
    """
    columns: dict[str, Sequence[Any]] = {"prompt": table.column("prompt")}
    if model in table.columns:
        columns["score"] = table.columns[model]
    for name in (*ANSWER_FACTS, *_COSTS):
        if f"{model}_{name}" in table.columns:
            columns[name] = table.columns[f"{model}_{name}"]
    if f"{model}_usd" in table.columns:
        columns["cost_usd"] = table.columns[f"{model}_usd"]
    return Table(columns, table.source)


def _assembled(source: str, whole: Table, found: dict[str, Table], models: tuple[str, ...]) -> AnswerTable:
    scores = {name: found[name].scores("score") for name in models}
    rows = {name: _first_rows(found[name].texts("prompt"), scores[name]) for name in models}
    both = [prompt for prompt in rows[models[1]] if prompt in rows[models[0]] and prompt.strip()]
    answers = {name: row_answers(found[name]) for name in models}
    both = [prompt for prompt in both if answers[models[1]][rows[models[1]][prompt]] is not None]
    if not both:
        raise DataError(
            f"{source}: no prompt has scores of both {models[0]!r} and {models[1]!r} and the latter's answer"
        )
    others = tuple(name for name in models[2:] if sum(prompt in rows[name] for prompt in both) * 2 >= len(both))
    models = (*models[:2], *others)
    table = np.full((3, len(both), len(models)), np.nan)
    texts: list[tuple[Answer | KnownSignals | None, ...]] = []
    for k, name in enumerate(models):
        place = [rows[name].get(prompt) for prompt in both]
        columns = (scores[name], *(_known(found[name], cost) for cost in _COSTS))
        for values, target in zip(columns, table, strict=True):
            target[:, k] = [np.nan if i is None else values[i] for i in place]
        texts.append(tuple(None if i is None else answers[name][i] for i in place))
    _check_scores(source, models, table[0])
    group = next((name for name in ("dataset", "domain", "category", "group") if name in whole.columns), None)
    of_prompt = dict(zip(whole.columns["prompt"], whole.columns[group], strict=True)) if group else {}
    n_met = len({*rows[models[0]], *rows[models[1]]})
    report = BattleReport(source, len(whole)).with_finding(
        Finding("prompts left out: not answered and scored for both models", n_met - len(both))
    )
    return AnswerTable(
        tuple(both),
        models,
        table[0],
        table[1],
        table[2] / 1000.0,
        tuple(texts),
        tuple(str(of_prompt[prompt]) for prompt in both) if group else None,
        report,
        _embeddings(whole, both),
    )


def _embeddings(whole: Table, prompts: Sequence[str]) -> Float32Array | None:
    """Of these prompts; None where the table lacks one, or they are of several lengths."""
    if "embedding" not in whole.columns:
        return None
    kept = zip(whole.texts("prompt"), whole.columns["embedding"], strict=True)
    found = {prompt: json.loads(e) if isinstance(e, str) else e for prompt, e in kept if not is_missing(e)}
    values = [found.get(prompt) for prompt in prompts]
    if any(value is None for value in values) or len({len(value) for value in values if value is not None}) != 1:
        return None
    return np.asarray(values, dtype=np.float32)


def _first_rows(prompts: Sequence[str], scores: FloatArray) -> dict[str, int]:
    """First scored row of every prompt."""
    first: dict[str, int] = {}
    for i, prompt in enumerate(prompts):
        if not math.isnan(scores[i]):
            first.setdefault(prompt, i)
    return first


def _known(table: Table, name: str) -> FloatArray:
    return table.scores(name) if name in table.columns else np.full(len(table), np.nan)


def _check_scores(source: str, models: Sequence[str], score: FloatArray) -> None:
    bad = np.argwhere((score < 0) | (score > 1))
    if bad.size:
        row, column = bad[0]
        raise DataError(
            f"{source}: the score of {models[column]!r} is {score[row, column]:g} on some prompt ({len(bad)} such), "
            "wanted [0, 1]: scale the scores"
        )
