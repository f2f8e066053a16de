"""Adds a router to a configuration file, leaving every other line unchanged."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import ConfigError
from pointsman.serve.config.yaml_file import read_mapping

__all__ = ["Added", "add_router"]

_NAME = "learned"
_WATCHED = """drift: {}  # says when prompts no longer look like those it was learned from
store: {prompts: text}  # pointsman.db: spending, feedback, and the prompts, for `pointsman replay` and to learn again
"""
_INSTEAD = {"candidates": ("candidates", "strong", "weak")}  # keys that mean the same
_ROUTERS = re.compile(r"^routers:[ \t]*(#.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Added:
    """The result for the file.

    Attributes:
        line: a message about it.
        changed: whether it was changed.
    """

    line: str
    changed: bool


def add_router(path: Path, *, checkpoints: Path, max_loss: float, sections: Mapping[str, str] | None = None) -> Added:
    """Makes the file's first router serve a folder's promoted checkpoint, at the threshold for a bound on the loss.

    Args:
        sections: further keys of the file with their YAML, added if it does not have them.

    A new file also gets drift monitoring and a store. A file that already names this folder as a checkpoint
    is not changed.

    Raises:
        ConfigError: the file cannot be read or written, or gives its routers on one line.
    """
    folder = os.path.relpath(checkpoints.resolve(), path.resolve().parent)
    entry = f"  {_NAME}: {{checkpoint: {folder}, max_loss: {max_loss:g}}}\n"
    wanted = sections or {}
    try:
        if not path.exists():
            path.write_text("".join([f"routers:\n{entry}", *wanted.values(), _WATCHED]), encoding="utf-8")
            return Added(f"wrote {path}", True)
        values, text = read_mapping(path), path.read_text(encoding="utf-8")
        new = {key: lines for key, lines in wanted.items() if not set(_INSTEAD.get(key, (key,))) & set(values)}
        routers = values.get("routers") or {}
        served = any(isinstance(value, dict) and value.get("checkpoint") == folder for value in routers.values())
        if served:
            said = f"{path} serves what is promoted in {folder}"
        elif "routers" not in values:
            said = f"added router {_NAME} to {path}"
            text = f"{text.rstrip()}\n\nrouters:\n{entry}" if text.strip() else f"routers:\n{entry}"
        elif _NAME not in routers and (found := _ROUTERS.search(text)):
            said = f"added router {_NAME} to {path}"
            text = f"{text[: found.end()]}\n{entry.rstrip()}{text[found.end() :]}"
        else:
            raise ConfigError(f"{path} could not be changed: put this line first below `routers:`\n{entry.rstrip()}")
        if new:
            text = "\n".join([text.rstrip(), *(lines.rstrip() for lines in new.values()), ""])
            said += f"; added {', '.join(new)}"
        if left := [key for key in wanted if key not in new]:
            said += f". It already has others; the new ones would be\n{''.join(wanted[key] for key in left)}"
        if new or not served:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    return Added(said.rstrip(), bool(new) or not served)
