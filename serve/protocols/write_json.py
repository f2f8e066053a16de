"""Writes JSON of documents that came from clients and services, which may hold more than orjson writes.

Lone surrogates (half of an emoji that was cut off, "\\ud83d" in JSON) and whole numbers beyond 64 bits are valid JSON,
and are written as they came.
"""

import json
from collections.abc import Callable
from typing import Any

import orjson

__all__ = ["write_json"]


def write_json(document: object, *, default: Callable[[Any], Any] | None = None) -> bytes:
    """Compact JSON in UTF-8, lone surrogates as escapes, NaN and infinities as null.

    Args:
        default: makes JSON types of what is none.

    Raises:
        TypeError: something is no JSON type.
        ValueError: it contains itself.
    """
    try:
        return orjson.dumps(document, default=default)
    except TypeError:
        pass
    try:
        text = _text(document, default)
    except ValueError:  # as orjson writes them
        text = _text(json.loads(_text(document, default, allow_nan=True), parse_constant=lambda _: None), default)
    return text.encode("utf-8", "backslashreplace")


def _text(document: object, default: Callable[[Any], Any] | None, *, allow_nan: bool = False) -> str:
    return json.dumps(document, default=default, ensure_ascii=False, separators=(",", ":"), allow_nan=allow_nan)
