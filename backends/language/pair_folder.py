"""Checks shared by kinds with their own files beside the arrays."""

from pathlib import Path

from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import CheckpointError
from pointsman.core.pair import ModelPair

__all__ = ["folder_for_pair"]


def folder_for_pair(checkpoint: Checkpoint, pair: ModelPair) -> Path:
    """Folder of a checkpoint that knows one pair of models.

    Raises:
        CheckpointError: it has no folder, or was trained for another pair.
    """
    if checkpoint.path is None:
        raise CheckpointError(f"a {checkpoint.kind} checkpoint needs its folder: read it with read_checkpoint")
    if pair != checkpoint.pair:
        own = checkpoint.pair
        raise CheckpointError(
            f"checkpoint {checkpoint.path} knows strong {own.strong!r} and weak {own.weak!r} alone, "
            f"not {pair.strong!r} and {pair.weak!r}: train one for that pair"
        )
    return checkpoint.path
