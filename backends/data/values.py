"""Values of cells: missing ones, numbers and texts."""

import math
from typing import Any

__all__ = ["encodable", "is_missing", "number"]

_MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "<na>", "nat", "-"})
_WORDS = {"true": 1.0, "yes": 1.0, "pass": 1.0, "passed": 1.0, "false": 0.0, "no": 0.0, "fail": 0.0, "failed": 0.0}


def is_missing(value: Any) -> bool:
    """Whether a cell of labels or numbers holds nothing.

    None, NaN, a blank text, and what NumPy, pandas, polars, R, Excel and SQL write for it: NaN, NA, N/A, null, None.
    """
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().casefold() in _MISSING
    try:
        return bool(value != value)  # NaN and NaT are not themselves
    except (TypeError, ValueError):  # pandas.NA has no truth value, an array has many
        return type(value).__name__ == "NAType"


def number(value: Any) -> float:
    """The number in a cell, also as text; NaN if it is not a number.

    True, yes and pass are 1; false, no and fail are 0; 85% is 0.85.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if text.endswith("%"):
            return number(text[:-1]) / 100.0
        if "_" in text:  # float() reads 1_000, which no table means
            return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def encodable(text: str) -> str:
    """The text with pairs of surrogates joined and lone ones left out: half an emoji has no UTF-8 form."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    return text
