"""The only door from training to a checkpoint on disk: what is written has been served once and compared."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.embedding import CANARIES, EmbedderIdentity
from pointsman.core.errors import FitError
from pointsman.core.registry import build_router
from pointsman.core.router import EmbeddingRouter, Router
from pointsman.core.verifier import read_verifier

__all__ = [
    "RecordedEmbedder",
    "calibrated",
    "export_checkpoint",
    "export_verifier",
    "package_versions",
    "served_win_rates",
]

_TOLERANCE = 1e-5


class RecordedEmbedder:
    """Stands in for an embedder that is not at hand: knows its identity and the canaries, and no other text."""

    blocking = False

    def __init__(self, identity: EmbedderIdentity, canaries: Float32Array) -> None:
        self.identity = identity
        self._canaries = canaries

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        if tuple(texts) != CANARIES:
            raise ValueError("a recorded embedder knows the canary sentences alone")
        return self._canaries


def export_checkpoint(
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    *,
    sample: Float32Array | Sequence[str],
    expected: FloatArray | None,
    files: Mapping[str, Path] | None = None,
) -> None:
    """Writes a checkpoint after its NumPy router has reproduced the framework's win rates.

    Args:
        sample: prompts to compare on: their embeddings, shape (n_prompts, dim), or for kinds without an embedder the
            prompts themselves.
        expected: the framework's win rates of the checkpoint's pair on them, shape (n_prompts,); None for kinds that
            are trained in NumPy, where there is no second forward pass.
        files: further files of the checkpoint, see `write_checkpoint`; a kind that reads them finds them in
            `checkpoint.path`.

    Raises:
        FitError: a win rate leaves [0, 1], or differs by more than 1e-5 from the expected one.
        CheckpointError: the checkpoint cannot be served, or not be written; an old one at `path` stays.
    """
    served = served_win_rates(checkpoint, sample)
    if not ((served >= 0) & (served <= 1)).all():
        raise FitError(f"the {checkpoint.kind} router serves win rates outside [0, 1] or NaN: nothing was written")
    if expected is not None:
        gap = np.abs(served - np.asarray(expected, dtype=np.float64))
        if not gap.max(initial=0.0) <= _TOLERANCE:
            raise FitError(
                f"the {checkpoint.kind} router serves win rate {served[gap.argmax()]:.6f} where training computed "
                f"{expected[gap.argmax()]:.6f}; wanted a difference of at most {_TOLERANCE}: nothing was written"
            )
    write_checkpoint(checkpoint, path, files=files)


def export_verifier(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Writes a verifier after it was built from the checkpoint as a server will build it.

    Raises:
        FitError: one of its heads is not finite: nothing was written.
        CheckpointError: the checkpoint cannot be served, or not be written; an old one at `path` stays.
    """
    if checkpoint.embedder is None or checkpoint.canaries is None:
        raise FitError("a verifier without an embedder cannot be served: nothing was written")
    verifier = read_verifier(checkpoint, RecordedEmbedder(checkpoint.embedder, checkpoint.canaries))
    sample = verifier.embeddings[:1]
    if not np.isfinite(verifier.prompt_win_rates([""], embeddings=sample, win_rates=np.full(1, 0.5))).all():
        raise FitError("the verifier gives win rates that are not finite: nothing was written")
    write_checkpoint(checkpoint, path)


def calibrated(checkpoint: Checkpoint, sample: Float32Array | Sequence[str], *, source: str) -> Checkpoint:
    """The checkpoint with the quantiles of its pair's win rates on a sample of prompts, see `export_checkpoint`."""
    rates = served_win_rates(checkpoint, sample)
    return replace(checkpoint, calibration=Calibration.from_win_rates(rates, source=source))


def served_win_rates(checkpoint: Checkpoint, sample: Float32Array | Sequence[str]) -> FloatArray:
    """Win rates that a checkpoint's own router gives a sample of prompts, see `export_checkpoint`."""
    router = _router(checkpoint)
    if isinstance(router, EmbeddingRouter):
        return router.score(np.asarray(sample, dtype=np.float32))
    return router.win_rates([str(prompt) for prompt in sample])


def package_versions(*packages: str) -> dict[str, Any]:
    """Versions of Pointsman and of the packages that a run used, for its provenance."""
    return {name: version(name) for name in ("pointsman", "numpy", *packages)}


def _router(checkpoint: Checkpoint) -> Router:
    if checkpoint.embedder is None or checkpoint.canaries is None:
        return build_router(checkpoint)
    return build_router(checkpoint, RecordedEmbedder(checkpoint.embedder, checkpoint.canaries))
