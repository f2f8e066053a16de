"""The state of a training run on disk, so that a stopped run resumes as if it had not been stopped."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pointsman.backends.training.history import Epoch, best_epoch
from pointsman.core.errors import CheckpointError
from pointsman.core.replace_file import replacing

__all__ = ["TrainingState", "read_state", "write_state"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """Everything that the next epoch depends on.

    Attributes:
        params, opt: weights and optimiser state after the last epoch.
        best: weights of the best epoch.
        history: figures of every epoch so far.
    """

    params: Any
    opt: Any
    best: Any
    history: tuple[Epoch, ...]

    def exhausted(self, patience: int | None) -> bool:
        """Whether the last `patience` epochs brought no lower validation loss."""
        if patience is None or not self.history:
            return False
        return len(self.history) - best_epoch(self.history).number >= patience

    @property
    def _trees(self) -> dict[str, Any]:
        return {"params": self.params, "opt": self.opt, "best": self.best}


def write_state(path: Path, state: TrainingState, run: str) -> None:
    """Writes the state of run `run` in place of an older one, which survives a crash.

    Raises:
        CheckpointError: writing failed.
    """
    arrays = {name: np.array(leaf, order="C") for name, leaf in _named(state).items()}
    meta = {"run": run, "history": json.dumps([asdict(epoch) for epoch in state.history])}
    try:
        with replacing(path) as staging:
            save_file(arrays, staging, metadata=meta)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"writing training state {path} failed: {error}") from error


def read_state(path: Path, like: TrainingState, run: str) -> TrainingState:
    """The state at `path`, its arrays arranged as in `like`.

    Raises:
        CheckpointError: the file is damaged, or is the state of another run.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            meta = file.metadata() or {}
            if meta.get("run") != run:
                raise CheckpointError(
                    f"training state {path} is of a run with other data or another recipe: "
                    "name another file, or delete it to start again"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        leaves = [arrays[name] for name in _named(like)]
        history = tuple(Epoch(**epoch) for epoch in json.loads(meta["history"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"training state {path} is damaged: {error}; delete it to start again") from error
    trees = jax.tree.unflatten(jax.tree.structure(like._trees), leaves)
    return TrainingState(trees["params"], trees["opt"], trees["best"], history)


def _named(state: TrainingState) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state._trees)}
