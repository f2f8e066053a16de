"""Nearest-neighbour router over an outcome table."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pointsman.core.arrays import AnyFloatArray, FloatArray, IntArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.errors import CheckpointError, EmbedderMismatchError
from pointsman.core.knn import Neighbours, neighbour_shares, win_shares
from pointsman.core.pair import ModelPair
from pointsman.core.probability import PlattMap
from pointsman.core.router import EmbeddingRouter, Router
from pointsman.core.routers import scores
from pointsman.core.routers.pairs import load_pairs

__all__ = ["KNNRouter", "load", "load_candidates", "members", "read_neighbours"]


class KNNRouter(EmbeddingRouter):
    """Calibrated weighted mean of what strong won on the nearest training prompts."""

    kind: ClassVar[str] = "knn"

    def __init__(self, embed: Embedder, neighbours: Neighbours, calibration: PlattMap) -> None:
        super().__init__(embed)
        self.neighbours = neighbours
        self.calibration = calibration

    @property
    def blocking(self) -> bool:
        return True

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        return self.calibration(neighbour_shares(self.neighbours, embeddings))


def members(checkpoint: Checkpoint, name: str) -> IntArray:
    """Rows of the models that a name stands for: a group of option `groups`, or one model.

    Raises:
        CheckpointError: the checkpoint knows no model or group of that name.
    """
    group = checkpoint.options.get("groups", {}).get(name, [name])
    return np.array([checkpoint.row(model) for model in group], dtype=np.int64)


def read_neighbours(checkpoint: Checkpoint, pair: ModelPair) -> Neighbours:
    """The training prompts of a `knn` checkpoint on which the pair met.

    Raises:
        CheckpointError: an array is missing or does not fit the others, or the pair never met.
    """
    embeddings = checkpoint.array("embeddings", ndim=2)
    prompt, model = checkpoint.array("outcome_prompt", ndim=1), checkpoint.array("outcome_model", ndim=1)
    score = checkpoint.array("outcome_score", ndim=1)
    n_prompts, n_models = len(embeddings), len(checkpoint.models)
    if not (prompt.shape == model.shape == score.shape and _inside(prompt, n_prompts) and _inside(model, n_models)):
        wanted = f"{n_prompts} prompts and {n_models} models"
        raise CheckpointError(f"checkpoint {checkpoint.path}: outcomes do not fit {wanted}")
    sides = members(checkpoint, pair.strong), members(checkpoint, pair.weak)
    table = np.full((n_prompts, n_models), np.nan)
    table[prompt, model] = score
    share = win_shares(table, *sides, margin=float(checkpoint.options.get("margin", 0.0)))
    met = np.isfinite(share)
    if not met.any():
        raise CheckpointError(f"{pair.strong!r} and {pair.weak!r} have no prompt in common: choose another pair")
    try:
        k, temperature = int(checkpoint.options["k"]), float(checkpoint.options["temperature"])
        return Neighbours(embeddings[met].astype(np.float32), share[met], k, temperature)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.path}: k or temperature is malformed: {error!r}") from error


def load_candidates(checkpoint: Checkpoint, embed: Embedder | None, candidates: Sequence[str]) -> Router:
    """The router of a `knn` checkpoint for some of its models, the reference first."""
    if "scores" in checkpoint.arrays:
        return scores.load_candidates(checkpoint, embed, candidates)
    return load_pairs(load, checkpoint, embed, candidates)


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> EmbeddingRouter:
    """The router of a `knn` checkpoint for a pair of its models or groups."""
    if "scores" in checkpoint.arrays:
        return scores.load(checkpoint, embed, pair)
    if embed is None:
        raise EmbedderMismatchError(f"checkpoint {checkpoint.path} of kind 'knn' needs an embedder and names none")
    slope, intercept = checkpoint.options.get("slope"), checkpoint.options.get("intercept")
    if not isinstance(slope, int | float) or not isinstance(intercept, int | float) or slope <= 0:
        found = f"slope {slope!r}, intercept {intercept!r}"
        raise CheckpointError(f"checkpoint {checkpoint.path}: {found} are not a calibration")
    return KNNRouter(embed, read_neighbours(checkpoint, pair), PlattMap(float(slope), float(intercept)))


def _inside(rows: np.ndarray, end: int) -> bool:
    return rows.dtype.kind in "iu" and bool(((rows >= 0) & (rows < end)).all())
