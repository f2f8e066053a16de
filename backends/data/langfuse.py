"""Observations exported from Langfuse: a prompt, the model that answered, and its scores."""

import ast
from collections.abc import Mapping
from typing import Any

from pointsman.backends.data.outcome_rows import message_text, outcome_rows
from pointsman.backends.data.values import is_missing, number

__all__ = ["outcomes"]


def outcomes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outcome of an observation; none where it names no model."""
    model = next(
        (row[n] for n in ("providedModelName", "provided_model_name", "model") if not is_missing(row.get(n))), None
    )
    costs = ("totalCost", "total_cost", "calculatedTotalCost", "cost")
    cost = next((row[name] for name in costs if not is_missing(row.get(name))), None)
    answer = message_text(row["output"])
    return outcome_rows(row["input"], model, _score(row["scores"]), cost, None, answer)


def _score(scores: Any) -> Any:
    """The first number among the scores: a list of {name, value}, an object by name, or a number."""
    if isinstance(scores, str) and scores.strip().startswith(("[", "{")):
        try:
            scores = ast.literal_eval(scores.replace("null", "None").replace("true", "True").replace("false", "False"))
        except (ValueError, SyntaxError):
            return None
    found: list[Any] = (
        list(scores.values()) if isinstance(scores, Mapping) else scores if isinstance(scores, list) else [scores]
    )
    values = [value.get("value") if isinstance(value, Mapping) else value for value in found]
    values = [value[0] if isinstance(value, list) and value else value for value in values]
    return next((value for value in values if not is_missing(value) and number(value) == number(value)), None)
