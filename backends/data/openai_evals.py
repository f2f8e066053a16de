"""OpenAI's evals: the log that `oaieval` writes, and the output items of the evals API."""

from collections.abc import Mapping
from typing import Any

from pointsman.backends.data.outcome_rows import message_text, outcome_rows
from pointsman.backends.data.prompts import decode_prompt
from pointsman.backends.data.tables import Table
from pointsman.backends.data.values import is_missing, number

__all__ = ["event_outcomes", "event_prompt", "item_outcomes", "item_prompt"]


def event_outcomes(table: Table) -> list[dict[str, Any]]:
    """Outcomes of a log: the specification names the model, sampling events the prompts, match events the scores."""
    model, prompts, scores = None, {}, {}
    for row in table.rows():
        spec, data = row.get("spec"), row.get("data")
        if isinstance(spec, Mapping):
            model = next(iter(spec.get("completion_fns") or ()), None) or spec.get("model_name") or model
        if not isinstance(data, Mapping):
            continue
        key = (model, row.get("sample_id"))
        if row.get("type") == "sampling" and key not in prompts:
            prompts[key] = data.get("prompt")
        score = next((data[name] for name in ("correct", "score", "accuracy") if not is_missing(data.get(name))), None)
        if score is not None:
            scores[key] = score
    return [made for key, score in scores.items() for made in outcome_rows(prompts.get(key), key[0], score)]


def item_outcomes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outcome in an output item of the evals API: the mean of its graders' scores."""
    sample, results = row["sample"], [found for found in row["results"] or () if isinstance(found, Mapping)]
    scores = [found.get("passed") if is_missing(found.get("score")) else found["score"] for found in results]
    known = [number(score) for score in scores if not is_missing(score)]
    if not isinstance(sample, Mapping):
        return []
    answer = next((message_text(message) for message in reversed(sample.get("output") or ())), None)
    return outcome_rows(
        sample.get("input"), sample.get("model"), sum(known) / len(known) if known else None, answer=answer
    )


def item_prompt(row: Mapping[str, Any]) -> str:
    """The prompt of an output item."""
    sample = row["sample"]
    return decode_prompt(sample.get("input")) if isinstance(sample, Mapping) else ""


def event_prompt(row: Mapping[str, Any]) -> str:
    """The prompt of a `sampling` event; "" for any other event."""
    data = row.get("data")
    return decode_prompt(data.get("prompt")) if isinstance(data, Mapping) else ""
