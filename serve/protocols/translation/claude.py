"""What a Claude model supports, by its name: the form of thinking, and the longest response."""

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["SAMPLING", "Claude", "claude", "thinking"]

_NAME = re.compile(
    r"claude-(?:(?P<before>\d+)(?:[-.](?P<minor>\d))?-)?[a-z]+(?:-(?P<after>\d+)(?:[-.](?P<sub>\d{1,2})(?!\d))?)?"
)
SAMPLING = ("temperature", "top_p", "top_k")
_UNKNOWN = (99, 0)  # what has another name is taken to be new
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGETS = {"low": 1_024, "medium": 4_096, "high": 16_384}  # tokens of thinking, for models that are told a number
_LEAST_BUDGET = 1_024


@dataclass(frozen=True, slots=True)
class Claude:
    """One model.

    Attributes:
        most_tokens: limit of an answer if the request sets none.
        thinks: how it can be made to think: "adaptive", by a "budget", or not at all.
        holds_schema: whether it can be constrained to a JSON schema.
        samples: which of temperature, top_p and top_k it accepts.
    """

    most_tokens: int
    thinks: str
    holds_schema: bool
    samples: tuple[str, ...]


def claude(model: str) -> Claude:
    """What a model supports; an unknown name is assumed to be a new model."""
    version = _version(model)
    most_tokens = 4_096 if version < (3, 5) else 8_192 if version < (3, 7) else 32_000
    thinks = "adaptive" if version >= (4, 6) else "budget" if version >= (3, 7) else "no"
    holds_schema = version >= (4, 5) or version == (4, 1)
    takes_all = version < (4, 7) or version == _UNKNOWN
    return Claude(most_tokens, thinks, holds_schema, samples=SAMPLING if takes_all else ())


def thinking(effort: str, model: Claude, *, max_tokens: int, is_free: bool) -> dict[str, Any]:
    """`thinking` and `output_config` for one of OpenAI's efforts; nothing if the model supports neither.

    Args:
        effort: none, minimal, low, medium, high, xhigh or max.
        max_tokens: of the answer; thinking by a budget counts towards it.
        is_free: whether a model may think with a budget: no tool is forced, no temperature set,
            and no tool loop continues without its thinking.
    """
    level = _EFFORTS.get(effort)
    if effort == "none" and model.thinks == "adaptive":  # which the newest do unasked
        return {"thinking": {"type": "disabled"}}
    if level is None:
        return {}
    if model.thinks == "adaptive":
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": level}}
    budget = min(_BUDGETS[level], max_tokens // 2)
    if model.thinks == "budget" and is_free and budget >= _LEAST_BUDGET:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    return {}


def _version(model: str) -> tuple[int, int]:
    found = _NAME.search(model)
    if not found:
        return _UNKNOWN
    if found["before"]:  # claude-3-5-sonnet-20241022
        return int(found["before"]), int(found["minor"] or 0)
    return (int(found["after"]), int(found["sub"] or 0)) if found["after"] else _UNKNOWN
