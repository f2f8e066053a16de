"""Ids of requests and of rows in the store."""

import random
import re
from time import time_ns

from starlette.types import Scope

__all__ = ["first_row_id", "new_row_id", "request_id"]

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def request_id(scope: Scope) -> str:
    """The client's X-Request-Id where it is well-formed, else a new one: milliseconds since 1970, and 64 random bits.

    Ids in order of time let a batch of rows change only a few pages of a database's index.
    """
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return str(value.decode("ascii"))
    return f"{time_ns() // 1_000_000:012x}{random.getrandbits(64):016x}"


class _RowIds:
    """Ids of one process: those of the same millisecond sort in order of creation."""

    __slots__ = ("_first", "_n")

    def __init__(self) -> None:
        self._first, self._n = "", 0

    def __call__(self, at: float) -> str:
        """An id for a row of that time: 12 digits of milliseconds, 4 that count, 12 random ones, hexadecimal."""
        first = first_row_id(at)
        self._n = self._n + 1 if first == self._first else 0
        self._first = first
        return f"{first}{self._n & 0xFFFF:04x}{random.getrandbits(48):012x}"


def first_row_id(at: float) -> str:
    """A lower bound of the ids of rows from that time on, above all earlier ids."""
    return f"{max(0, round(1000.0 * at)):012x}"


new_row_id = _RowIds()
