"""Completes a configuration file by a router, leaving every other line as it is."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import ConfigError
from pointsman.serve.config.yaml_file import read_mapping

__all__ = ["Added", "add_router"]

_NAME = "learned"
_WATCHED = """drift: {}  # says when prompts no longer look like those it was learned from
store: {}  # keeps spending and feedback; `{prompts: text}` keeps prompts as well, for `pointsman replay`
"""
_ROUTERS = re.compile(r"^routers:[ \t]*(#.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Added:
    """What became of the file.

    Attributes:
        line: what to tell of it.
        changed: whether it was written.
    """

    line: str
    changed: bool


def add_router(path: Path, *, checkpoints: Path, max_loss: float) -> Added:
    """Has the file's first router serve the promoted checkpoint of a folder, at the threshold for a bound on the loss.

    A file that is not there yet also gets drift monitoring and a store. One that names this folder as a checkpoint
    already is left as it is.

    Raises:
        ConfigError: the file cannot be read or written, or gives its routers on one line.
    """
    folder = os.path.relpath(checkpoints.resolve(), path.resolve().parent)
    entry = f"  {_NAME}: {{checkpoint: {folder}, max_loss: {max_loss:g}}}\n"
    try:
        if not path.exists():
            path.write_text(f"routers:\n{entry}{_WATCHED}", encoding="utf-8")
            return Added(f"wrote {path}", True)
        values, text = read_mapping(path), path.read_text(encoding="utf-8")
        routers = values.get("routers") or {}
        if any(isinstance(value, dict) and value.get("checkpoint") == folder for value in routers.values()):
            return Added(f"{path} serves what is promoted in {folder}", False)
        if "routers" not in values:
            text = f"{text.rstrip()}\n\nrouters:\n{entry}" if text.strip() else f"routers:\n{entry}"
        elif _NAME not in routers and (found := _ROUTERS.search(text)):
            text = f"{text[: found.end()]}\n{entry.rstrip()}{text[found.end() :]}"
        else:
            raise ConfigError(f"{path} could not be completed: put this line first below `routers:`\n{entry.rstrip()}")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    return Added(f"added router {_NAME} to {path}", True)
