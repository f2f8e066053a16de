"""Which keys a configuration can have where, and suggestions for unknown ones."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from pointsman.serve.config.root import Config

__all__ = ["hint", "keys_at"]

_MOST_LISTED, _MOST_HOMES = 10, 3


def hint(path: Sequence[str | int], key: str) -> str:
    """A suggestion for a key that the mapping at `path` does not have.

    A key of that mapping with the same words or nearly the same letters; else where the key belongs; else a similar
    one, or the keys that the mapping has.
    """
    known, words = keys_at(path), set(key.split("_"))
    if near := [name for name in known if words <= set(name.split("_"))] or get_close_matches(key, known, cutoff=0.8):
        return f"; did you mean {near[0]}?"
    if homes := [place or "the top level" for place, keys in _mappings() if key in keys][:_MOST_HOMES]:
        return f"; it belongs to {' or '.join(homes)}"
    if near := get_close_matches(key, known):
        return f"; did you mean {near[0]}?"
    few = f"wanted one of {', '.join(known)}" if len(known) <= _MOST_LISTED else "`pointsman serve --schema` lists all"
    return f"; {few}" if known else ""


def keys_at(path: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that the mapping at this path can have, of all its alternatives."""
    nodes = list(_alternatives(_schema()))
    for part in path:
        nodes = [inner for node in nodes for inner in _alternatives(_inside(node, part))]
    return tuple(dict.fromkeys(key for node in nodes for key in node.get("properties", {})))


def _inside(node: Mapping[str, Any], part: str | int) -> Mapping[str, Any]:
    found = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part) or _of_any_name(node)
    return found if isinstance(found, Mapping) else {}


def _of_any_name(node: Mapping[str, Any]) -> Any:
    """The value type of a mapping with free keys."""
    return next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))


def _alternatives(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in node:
        yield from _alternatives(_schema()["$defs"][node["$ref"].rpartition("/")[2]])
    elif "anyOf" in node:
        for one in node["anyOf"]:
            yield from _alternatives(one)
    else:
        yield node


@cache
def _schema() -> Mapping[str, Any]:
    return Config.model_json_schema()


@cache
def _mappings() -> tuple[tuple[str, frozenset[str]], ...]:
    """Every mapping of the configuration with keys of its own: its path, with <name> for a free key, and its keys."""
    found: list[tuple[str, frozenset[str]]] = []
    waiting = [("", _schema())]
    while waiting:
        path, unresolved = waiting.pop()
        for node in _alternatives(unresolved):
            fields = node.get("properties", {})
            if fields:
                found.append((path, frozenset(fields)))
            inner = [*fields.items(), ("<name>", _inside(node, "<name>")), ("<number>", _inside(node, 0))]
            waiting += [(f"{path}.{name}".lstrip("."), field) for name, field in inner if field]
    return tuple(found)
