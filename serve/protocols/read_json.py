"""Reads JSON of services, and what was written with `write_json`: orjson refuses some of it."""

import json
from typing import Any

import orjson

__all__ = ["read_json"]


def read_json(data: bytes | str) -> Any:
    """The value of a JSON text, which may hold lone surrogates, numbers beyond double precision, NaN and infinities.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
