"""Named checkpoints in one folder, of which one is promoted: what a router serves whose checkpoint is that folder.

    checkpoints/
      first/            checkpoints, by name
      second/
      promoted.json     {"stack": [{"name": "first", "at": ...}, {"name": "second", "at": ...}], "log": [...]}

The last of the stack is served; a rollback removes it. The file is replaced atomically, so that whoever reads it
sees the old or the new one; a running server notices within seconds.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pointsman.core.errors import CheckpointError
from pointsman.core.replace_file import replacing

__all__ = ["POINTER", "checkpoint_names", "promote", "promoted_folder", "promoted_name", "rollback"]

POINTER = "promoted.json"
_META = "pointsman.json"
_MAX_LOG = 1000


def promoted_folder(folder: Path) -> Path:
    """The checkpoint that is promoted in a folder; the folder itself where none is."""
    try:
        name = promoted_name(folder)
    except CheckpointError:  # whoever loads it gives the reason
        return folder
    return folder if name is None else folder / name


def promoted_name(folder: Path) -> str | None:
    """Name of the promoted checkpoint; None if nothing has been promoted.

    Raises:
        CheckpointError: the record is malformed.
    """
    stack = _read(folder)["stack"]
    return str(stack[-1]["name"]) if stack else None


def checkpoint_names(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{_META}") if not path.parent.name.startswith("."))


def promote(folder: Path, name: str, *, clock: Callable[[], float] = time.time) -> str | None:
    """Promotes a checkpoint: it is served from now on. Returns the name of the one before, or None.

    Raises:
        CheckpointError: no checkpoint has that name, it is already promoted, or the record is malformed.
    """
    if name not in checkpoint_names(folder):
        known = ", ".join(checkpoint_names(folder)) or "none"
        raise CheckpointError(f"{folder} holds no checkpoint {name!r}; its checkpoints are {known}")
    with _changing(folder) as record:
        before = str(record["stack"][-1]["name"]) if record["stack"] else None
        if before == name:
            raise CheckpointError(f"{name!r} is already promoted")
        record["stack"].append({"name": name, "at": clock()})
        record["log"].append({"action": "promote", "name": name, "at": clock()})
    return before


def rollback(folder: Path, *, clock: Callable[[], float] = time.time) -> str:
    """Rolls back to the checkpoint promoted before; returns its name.

    Raises:
        CheckpointError: none was promoted before, it is gone, or the record is malformed.
    """
    with _changing(folder) as record:
        if len(record["stack"]) < 2:
            raise CheckpointError(
                f"no other checkpoint was promoted before in {folder}: there is nothing to roll back to"
            )
        name = str(record["stack"][-2]["name"])
        if name not in checkpoint_names(folder):
            raise CheckpointError(f"checkpoint {name!r}, which was promoted before, is not in {folder} any more")
        record["stack"].pop()
        record["log"].append({"action": "rollback", "name": name, "at": clock()})
    return name


@contextmanager
def _changing(folder: Path) -> Iterator[dict[str, Any]]:
    """The record, locked while the block runs and written if the block succeeds."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        record = _read(folder)
        yield record
        record["log"] = record["log"][-_MAX_LOG:]
        _write(folder, record)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / POINTER
    if not path.is_file():
        return {"stack": [], "log": []}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names = [entry["name"] for entry in (*record["stack"], *record["log"])]
        if not (isinstance(record["stack"], list) and isinstance(record["log"], list)):
            raise TypeError("stack and log are not arrays")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is malformed: {error!r}; delete it and promote a checkpoint again") from error
    if not all(isinstance(name, str) and name == Path(name).name and name not in ("", "..") for name in names):
        raise CheckpointError(f"{path} names {names}, wanted names of folders beside it; delete it and promote again")
    return {"stack": record["stack"], "log": record["log"]}


def _write(folder: Path, record: dict[str, Any]) -> None:
    with replacing(folder / POINTER, mode=0o644) as staging:
        staging.write_text(json.dumps(record, indent=1), encoding="utf-8")
