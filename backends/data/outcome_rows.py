"""Rows of outcomes: what a model scored on a prompt."""

import json
from collections.abc import Mapping
from typing import Any

from pointsman.backends.data.prompts import decode_prompt
from pointsman.backends.data.values import encodable, is_missing

__all__ = ["message_text", "outcome_rows"]


def outcome_rows(
    prompt: Any, model: Any, score: Any, cost: Any = None, dataset: Any = None, answer: Any = None, **tokens: Any
) -> list[dict[str, Any]]:
    """One outcome with what is known of it; none where the model is missing."""
    if is_missing(model):
        return []
    found = {
        "prompt": prompt if isinstance(prompt, str) else decode_prompt(prompt),
        "model": str(model),
        "score": score,
    }
    said = {"answer": encodable(answer)} if isinstance(answer, str) and answer.strip() else {}
    counted = {name: value for name, value in tokens.items() if not is_missing(value)}
    return [found | {"cost_usd": cost, "dataset": dataset} | said | counted]


def message_text(output: Any) -> Any:
    """The text of an output: itself, or the content of a message, also as JSON."""
    if isinstance(output, str) and output.lstrip().startswith("{"):
        try:
            output = json.loads(output)
        except ValueError:
            return output
    return output.get("content") if isinstance(output, Mapping) else output
