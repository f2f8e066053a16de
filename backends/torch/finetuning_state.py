"""The state of a fine-tuning run on disk, so that a stopped run resumes as if it had not been stopped."""

import hashlib
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pointsman.core.errors import CheckpointError
from pointsman.core.replace_file import replacing

__all__ = ["read_state", "run_fingerprint", "write_state"]


def run_fingerprint(*facts: object, rows: Sequence[Sequence[int]]) -> str:
    """A hash of what a run depends on: its settings, its base and its examples."""
    digest = hashlib.sha256(json.dumps([str(fact) for fact in facts]).encode())
    for row in rows:
        digest.update(json.dumps(list(map(int, row))).encode())
    return digest.hexdigest()


def write_state(path: Path, state: dict[str, Any], run: str) -> None:
    """Writes the state of run `run` (tensors and plain values) in place of an older one, which survives a crash.

    Raises:
        CheckpointError: writing failed.
    """
    try:
        with replacing(path) as staging:
            torch.save({"run": run, **state}, staging)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"writing training state {path} failed: {error}") from error


def read_state(path: Path, run: str) -> dict[str, Any]:
    """The state at `path`; only tensors and plain values are read, never code.

    Raises:
        CheckpointError: the file is damaged, or is the state of another run.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state["run"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"training state {path} is damaged: {error}; delete it to start again") from error
    if found != run:
        raise CheckpointError(
            f"training state {path} is of a run with other data or other settings: "
            "name another file, or delete it to start again"
        )
    return state
