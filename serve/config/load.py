"""Makes a configuration from a YAML file, plain values or command-line options.

RouteLLM's layout, routers at the top level with `checkpoint_path`, is read as well.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pointsman.core.errors import ConfigError
from pointsman.core.registry import known_kinds
from pointsman.serve.checkpoints.load import checkpoint_folder
from pointsman.serve.config import Config, name_problems
from pointsman.serve.config.problems import problems

__all__ = ["make_config", "read_values"]

_SQLITE, _STORE = "sqlite:///", "sqlite:///pointsman.db"
_ROUTELLM_KINDS = {"mf", "bert", "causal_llm", "sw_ranking", "random"}


def make_config(
    values: Mapping[str, Any] | None = None,
    *,
    routers: Sequence[str] | None = None,
    strong: str | None = None,
    weak: str | None = None,
    candidates: Sequence[str] | None = None,
    source: str = "configuration",
) -> Config:
    """A configuration from plain values, in Pointsman's layout or RouteLLM's.

    Args:
        routers: names of the routers to take, the default one first; those that `values` do not describe are the
            bundled ones, or checkpoint directories, which are called by their last part. All that `values` describe if
            None.
        strong, weak: instead of those of `values`.
        candidates: instead of the models of `values`, the reference first.
        source: where the values come from, for the message.

    Raises:
        ConfigError: listing every unknown key, bad value and missing environment variable with its path.
    """
    chosen: dict[str, Any] = {name: model for name, model in (("strong", strong), ("weak", weak)) if model is not None}
    described = dict(values or {})
    if candidates is not None:
        chosen["candidates"] = list(candidates)
        described = {name: value for name, value in described.items() if name not in ("strong", "weak")}
    merged = {**_select(_from_routellm(described), routers), **chosen}
    found = [f"{path}: environment variable {name} is not set" for path, name in _missing_variables(merged, "")]
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        found = [*problems(error, merged), *found]
        if error.errors()[0]["loc"]:  # then the names, which are looked at last, were not looked at
            found += _name_problems(merged)
    if found:
        raise ConfigError("\n  ".join([f"{source} has {len(found)} problem(s):", *found]))
    return config


def read_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values in a YAML file, its relative paths taken from the file's own folder, wherever the command is run.

    Raises:
        ConfigError: the file cannot be read, is not a YAML mapping, or gives a key twice.
    """
    from pointsman.serve.config.yaml_file import read_mapping

    return with_paths_from(Path(path).absolute().parent, read_mapping(path))


def with_paths_from(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The values with relative checkpoints, keys file and SQLite store below `folder`."""
    found = dict(values)
    for name, value in values.items():
        if name == "routers" and isinstance(value, dict):
            found[name] = {router: _router_from(folder, options) for router, options in value.items()}
        elif name in _ROUTELLM_KINDS or name in known_kinds():
            found[name] = _router_from(folder, value)
        elif name == "server" and isinstance(value, dict) and isinstance(value.get("keys_file"), str):
            found[name] = {**value, "keys_file": _below(folder, value["keys_file"])}
        elif name == "store":
            url = (value or {}).get("url", _STORE) if isinstance(value, dict | None) else None
            if isinstance(url, str) and url.startswith(_SQLITE) and url[len(_SQLITE) :][:1] not in ("", "/", ":"):
                found[name] = {**(value or {}), "url": _SQLITE + _below(folder, url.removeprefix(_SQLITE))}
    return found


def _router_from(folder: Path, options: Any) -> Any:
    if not isinstance(options, dict):
        return options
    paths = {key: options[key] for key in ("checkpoint", "checkpoint_path") if isinstance(options.get(key), str)}
    named = {key: _below(folder, path) for key, path in paths.items()}
    if "checkpoint_path" in named and not Path(named["checkpoint_path"]).exists():  # RouteLLM's may name a repository
        del named["checkpoint_path"]
    return {**options, **named}


def _below(folder: Path, path: str) -> str:
    """The path; a relative one is taken within the folder."""
    return path if not path or path.startswith(("env:", "~")) else str(folder / path)


def _from_routellm(values: Mapping[str, Any]) -> dict[str, Any]:
    """RouteLLM's top-level routers moved under `routers`, their `checkpoint_path` renamed."""
    others = [key for key in values if key not in Config.model_fields]
    moved = {key: values[key] for key in others if key in _ROUTELLM_KINDS or key in known_kinds()}
    if not moved:
        return dict(values)
    routers = {key: _rename_path(options) for key, options in moved.items()}
    rest = {key: value for key, value in values.items() if key not in moved}
    described = rest.get("routers")
    return {**rest, "routers": {**routers, **described} if isinstance(described, dict) else described or routers}


def _rename_path(options: Any) -> Any:
    if not isinstance(options, dict):
        return options or {}
    return {"checkpoint" if key == "checkpoint_path" else key: value for key, value in options.items()}


def _select(values: dict[str, Any], routers: Sequence[str] | None) -> dict[str, Any]:
    described = values.get("routers")
    if isinstance(described, dict):
        described = {name: {} if options is None else options for name, options in described.items()}
        values = {**values, "routers": described}
    if routers is None:
        return values
    described = described if isinstance(described, dict) else {}
    named = [(name, described[name]) if name in described else _by_path(name) for name in routers]
    if twice := [name for name, n in Counter(name for name, _ in named).items() if n > 1]:
        raise ConfigError(f"two routers are called {twice[0]!r}: name their directories under routers in a config file")
    return {**values, "routers": dict(named)}


def _by_path(given: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a router that is not in the file."""
    if checkpoint_folder(given) is None:
        return given, {}
    return re.sub(r"\s", "-", Path(given).resolve().name), {"checkpoint": given}


def _missing_variables(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _missing_variables(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, str) and value.startswith("env:") and not os.environ.get(value[4:], "").strip():
        yield path, value[4:]


def _name_problems(values: Mapping[str, Any]) -> Iterator[str]:
    models = values.get("models")
    strong, weak = (values.get(role) if isinstance(values.get(role), str) else None for role in ("strong", "weak"))
    for problem in name_problems(strong, weak, models if isinstance(models, dict) else ()):
        yield f"(top level): {problem}"
