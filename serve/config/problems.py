"""Errors of a configuration in words: where in the file, what was wanted, and what may be meant."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from pointsman.serve.config.known_keys import hint, keys_at
from pointsman.serve.config.root import Config

__all__ = ["problems"]

_MAPPING = re.compile(r"wanted a valid dictionary(?: or instance of \w+)?")
_PATTERN = "string_pattern_mismatch"


def problems(error: ValidationError, values: Mapping[str, Any]) -> list[str]:
    """A line for each error.

    Args:
        values: what was validated; keys that know their line in the file are shown with it.
    """
    found: dict[tuple[str, int | None], list[str]] = {}
    for details in error.errors(include_url=False):
        path, line = _place(details, values)
        message = _message(details, path)
        said = found.setdefault((".".join(map(str, path)) or "(top level)", line), [])
        if message not in said:
            said.append(message)
    return [
        f"{where}: {' or '.join([said[0], *(_alternative(s) for s in said[1:])])}{f' (line {line})' if line else ''}"
        for (where, line), said in found.items()
        if not any(other.startswith(f"{where}.") for other, _ in found)  # then what is wrong with it stands deeper
    ]


def _alternative(message: str) -> str:
    return message.rpartition("wanted ")[2]


def _place(details: Any, values: Any) -> tuple[list[str | int], int | None]:
    """Path in the file, without the names of the alternatives that were tried, and the line of its last key."""
    parts: list[str | int] = []
    line, location = None, details["loc"]
    missing = len(location) - 1 if details["type"] == "missing" else None
    for position, part in enumerate(location):
        keys = {key: key for key in values} if isinstance(values, Mapping) else {}
        if part in keys:
            line = getattr(keys[part], "line", line)
            values = values[part]
        elif isinstance(part, int) and isinstance(values, list | tuple) and part < len(values):
            values = values[part]
        elif position != missing:
            continue  # the name of an alternative
        parts.append(part)
    return parts, line


def _message(details: Any, path: list[str | int]) -> str:
    if details["loc"] and details["loc"][-1] == "api_key":
        return "is not env:NAME; keys are read from the environment and never written in this file"
    if details["type"] == "extra_forbidden":
        return f"is not a known key{hint(path[:-1], str(path[-1]))}"
    if details["type"] == "missing":
        return "is missing"
    if details["type"] == _PATTERN and (meaning := _meanings().get(details["ctx"]["pattern"])):
        return f"wanted {meaning}"
    message = str(details["msg"]).removeprefix("Value error, ").replace("Input should be", "wanted")
    message = _MAPPING.sub(_mapping_of(keys_at(path)), message).replace("wanted a valid string", "wanted text")
    message = message.replace("wanted a valid tuple", "wanted a list")
    message = message.replace("less than or equal to", "at most").replace("greater than or equal to", "at least")
    number = details["input"]  # of values, numbers alone are shown: text may be a secret
    if not message.startswith("wanted") or not isinstance(number, int | float):
        return message
    meant = f"; did you mean {number / 100:g}?" if message == "wanted at most 1" and 1 < number <= 100 else ""
    return f"is {number}, {message}{meant}"


def _mapping_of(keys: tuple[str, ...]) -> str:
    """What is wanted in place of settings."""
    return "wanted a mapping" + (f" of its settings ({', '.join(keys[:2])}{', ...' * (len(keys) > 2)})" if keys else "")


@cache
def _meanings() -> dict[str, str]:
    """Descriptions of patterns for texts."""
    found: dict[str, str] = {r"^\S+$": "text without spaces"}
    waiting: list[Any] = [Config.model_json_schema()]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str) and isinstance(part.get("description"), str):
                found.setdefault(part["pattern"], part["description"])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return found
