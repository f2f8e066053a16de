"""Reads JSON of services, and what was written with `write_json`: orjson refuses some of it."""

import json
from typing import Any

import orjson

from pointsman.serve.protocols.large_json import is_too_deep

__all__ = ["UTF8_MARK", "read_json", "read_piece"]

UTF8_MARK = b"\xef\xbb\xbf"  # some services begin their answers with it


def read_json(data: bytes | str) -> Any:
    """The value of a JSON text, which may hold lone surrogates, numbers beyond double precision, NaN and infinities.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested more deeply than `MAX_DEPTH` levels, which not everything that
            goes through a document recursively, or writes it, gets to the end of.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = _read_leniently(data.removeprefix(UTF8_MARK) if isinstance(data, bytes) else data)
    if is_too_deep(value, data):
        raise ValueError("the JSON is nested too deeply")
    return value


def read_piece(data: bytes) -> Any:
    """The value of a piece of such a text, which begins with no byte order mark, and whose depth is known.

    Raises:
        ValueError: it is not JSON, or not UTF-8.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _read_leniently(data)


def _read_leniently(data: bytes | str) -> Any:
    text = data.decode("utf-8", "surrogatepass") if isinstance(data, bytes) else data  # json would guess the encoding
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
