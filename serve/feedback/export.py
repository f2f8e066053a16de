"""Exports feedback and comparisons as battles and outcomes for `pointsman train`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair
from pointsman.serve.feedback.read import PREFERENCE, RATING
from pointsman.serve.store.queries import DecisionFilter
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow
from pointsman.serve.store.store import Store

__all__ = ["Export", "latest_feedback", "read_export"]

_USER = "user"


@dataclass(slots=True)
class Export:
    """The training data found.

    Attributes:
        battles: rows of prompt, model_a, model_b, outcome (share of the win of model_a) and judge.
        ratings: rows of prompt, model and score.
        answers: rows of a table of answers: prompt, model, score, judge and what was kept of the answer, two per
            comparison. A prompt whose text was not kept is named by its hash, with its embedding beside it.
        n_without_prompt: comparisons and feedback on requests whose prompt's text was not kept.
        n_without_pair: preferences that were left out because nobody said between which models.
    """

    battles: list[dict[str, Any]] = field(default_factory=list)
    ratings: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    n_without_prompt: int = 0
    n_without_pair: int = 0

    def as_battles(self) -> list[dict[str, Any]]:
        """Labelled battles: prompt, model_a, model_b, winner, judge."""
        return [
            {
                "prompt": battle["prompt"],
                "model_a": battle["model_a"],
                "model_b": battle["model_b"],
                "winner": _winner(battle["outcome"]),
                "judge": battle["judge"],
            }
            for battle in self.battles
        ]

    def as_outcomes(self) -> list[dict[str, Any]]:
        """An outcome table: prompt, model, score.

        A battle gives either model its share of the win. Ratings are on a scale of their own, so those of prompts that
        have a battle are left out.
        """
        rows = []
        for battle in self.battles:
            for model, score in ((battle["model_a"], battle["outcome"]), (battle["model_b"], 1.0 - battle["outcome"])):
                rows.append({"prompt": battle["prompt"], "model": model, "score": score})
        fought = {battle["prompt"] for battle in self.battles}
        return rows + [rating for rating in self.ratings if rating["prompt"] not in fought]


async def read_export(
    store: Store, *, pair: ModelPair | None = None, since: float | None = None, until: float | None = None
) -> Export:
    """Comparisons and feedback of a span of time, with the prompts that they are about.

    Args:
        pair: the two models that preferences are between; without it preferences are left out.

    Raises:
        DataError: nothing was said in that time.
    """
    comparisons = await store.comparisons(since=since, until=until)
    said = latest_feedback(await store.feedback(since=since, until=until))
    wanted = {row.decision_id for row in comparisons} | {row.decision_id for row in said}
    if not wanted:
        raise DataError("the store has neither feedback nor comparisons from that period")
    rows: dict[str, DecisionRow] = {}
    async for page in store.scan(DecisionFilter(until=until)):
        rows |= {row.id: row for row in page if row.id in wanted}
    asked = {name: (row.prompt, row.model) for name, row in rows.items() if row.prompt}
    found = _joined(comparisons, said, asked, pair)
    found.answers = [
        answer for judged in comparisons for answer in _answers(judged, rows.get(judged.decision_id or ""))
    ]
    return found


def latest_feedback(rows: Iterable[FeedbackRow]) -> list[FeedbackRow]:
    """The last word of each key on each answer, per kind; the oldest first.

    Args:
        rows: the oldest first.
    """
    last = {(row.decision_id or row.request_id, row.kind, row.key_id): row for row in rows}
    return sorted(last.values(), key=lambda row: row.id)


def _joined(
    comparisons: Sequence[ComparisonRow],
    said: Sequence[FeedbackRow],
    asked: dict[str, tuple[str, str | None]],
    pair: ModelPair | None,
) -> Export:
    found = Export()
    for judged in comparisons:
        prompt, _ = asked.get(judged.decision_id or "", (None, None))
        found.n_without_prompt += prompt is None
        if prompt is not None:
            names = {"model_a": judged.model_a, "model_b": judged.model_b}
            found.battles.append({"prompt": prompt, **names, "outcome": judged.outcome, "judge": judged.judge})
    for row in said:
        prompt, model = asked.get(row.decision_id or "", (None, None))
        found.n_without_prompt += prompt is None
        if prompt is None:
            continue
        if row.kind == RATING and model is not None:
            found.ratings.append({"prompt": prompt, "model": model, "score": row.value})
        elif row.kind == PREFERENCE and pair is None:
            found.n_without_pair += 1
        elif row.kind == PREFERENCE and pair is not None:
            names = {"model_a": pair.strong, "model_b": pair.weak}
            found.battles.append({"prompt": prompt, **names, "outcome": row.value, "judge": _USER})
    return found


def _answers(judged: ComparisonRow, row: DecisionRow | None) -> list[dict[str, Any]]:
    """Both answers of a comparison, where they can be learnt from: the prompt is known, or its embedding."""
    if row is None or judged.signals_a is None or judged.signals_b is None:
        return []
    embedding = None if row.embedding is None else np.frombuffer(row.embedding, dtype="<f4").tolist()
    if row.prompt is None and (embedding is None or row.prompt_hash is None):
        return []
    shared = {"prompt": row.prompt or f"hash:{row.prompt_hash}", "judge": judged.judge, "embedding": embedding}
    sides = (
        (judged.model_a, judged.outcome, judged.answer_a, judged.signals_a, judged.tokens_a),
        (judged.model_b, 1.0 - judged.outcome, judged.answer_b, judged.signals_b, judged.tokens_b),
    )
    return [
        {
            **shared,
            "model": model,
            "score": score,
            "signals": json.dumps(dict(signals)),
            "answer": answer,
            "output_tokens": n_tokens,
        }
        for model, score, answer, signals, n_tokens in sides
    ]


def _winner(outcome: float) -> str:
    return "tie" if outcome == 0.5 else "model_a" if outcome > 0.5 else "model_b"
