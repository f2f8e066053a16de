"""Reads parts of a request body; a value of the wrong type is a 400."""

import json
from collections.abc import Mapping
from typing import Any

from pointsman.serve.http.errors import RequestError

__all__ = ["Document", "Untranslatable", "integer", "item", "items", "string"]

Document = Mapping[str, Any]
_SHOWN = 60  # characters of a value in a message


class Untranslatable(RequestError):  # noqa: N818  (a RequestError that another model may not raise)
    """A request that cannot be expressed in the other API: another model may be able to answer it."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "unsupported_parameter") -> None:
        super().__init__(message, param=param, code=code)


def item(value: object, where: str) -> Document:
    """`value`, an object.

    Raises:
        RequestError: 400, it has another type.
    """
    if not isinstance(value, Mapping):
        raise _wrong(value, where, "an object")
    return value


def items(value: object, where: str) -> list[Document]:
    """`value`, an array of objects; None is an empty one.

    Raises:
        RequestError: 400, it has another type.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(value, where, "an array of objects")
    return [item(each, f"{where}[{i}]") for i, each in enumerate(value)]


def string(value: object, where: str) -> str:
    """`value`, a string.

    Raises:
        RequestError: 400, it has another type.
    """
    if not isinstance(value, str):
        raise _wrong(value, where, "a string")
    return value


def integer(value: object, where: str) -> int:
    """`value`, a whole number that is not negative.

    Raises:
        RequestError: 400, it has another type.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(value, where, "a whole number that is not negative")
    return value


def shown(value: object) -> str:
    """A value in a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _wrong(value: object, where: str, wanted: str) -> RequestError:
    return RequestError(f"{where} is {shown(value)}, wanted {wanted}", param=where)
