"""Reads YAML files, strictly."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pointsman.core.errors import ConfigError

__all__ = ["read_mapping"]

_MAX_VALUES = 100_000


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values in a YAML file.

    Raises:
        ConfigError: the file cannot be read, is not a YAML mapping, or gives a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"config file {path} cannot be read: {why}") from error
    try:
        values = yaml.load(text, Loader=_Loader)
        _check_tree(values)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"config file {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict) and values is not None:
        raise ConfigError(f"config file {path} holds a {type(values).__name__}, wanted a mapping with models, routers")
    return values or {}


class _Key(str):
    """A key that knows its line number, from 1."""

    line: int


class _Loader(yaml.SafeLoader):
    """A safe loader that rejects duplicate keys, and whose keys know their line numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value if isinstance(key.value, str)}
        return {_placed(key, lines): value for key, value in super().construct_mapping(node, deep).items()}


# As JSON has numbers, and YAML since 1.2; PyYAML takes 1e-6 for a text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _placed(key: Any, lines: Mapping[str, int]) -> Any:
    """The key with its line; unchanged where it is not a string or came through an alias."""
    if not isinstance(key, str) or key not in lines:
        return key
    placed = _Key(key)
    placed.line = lines[key]
    return placed


def _check_tree(value: Any) -> None:
    """Raises `YAMLError` if an alias contains itself, or aliases expand to too many values."""
    n_values, waiting = 0, [(value, frozenset[int]())]
    while waiting:
        part, above = waiting.pop()
        n_values += 1
        if n_values > _MAX_VALUES:
            raise yaml.YAMLError(f"its aliases expand to more than {_MAX_VALUES:,} values: write the values out")
        if id(part) in above:
            raise yaml.YAMLError("an alias contains itself")
        if isinstance(part, (dict, list)):
            within = above | {id(part)}
            waiting += [(inner, within) for inner in (part.values() if isinstance(part, dict) else part)]
