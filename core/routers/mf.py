"""Matrix-factorisation router, served as one dot product."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pointsman.core.activations import sigmoid
from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder, check_embeddings
from pointsman.core.errors import CheckpointError, EmbedderMismatchError
from pointsman.core.landmarks import Landmarks
from pointsman.core.mf import FoldedPair, MFWeights, fold_pair, folded_win_rates
from pointsman.core.pair import ModelPair
from pointsman.core.router import EmbeddingRouter, Reading

__all__ = ["MFCandidatesRouter", "MFRouter", "load", "load_candidates", "read_weights"]

_LANDMARKS, _LINEAR = "landmarks", "linear"


class MFRouter(EmbeddingRouter):
    """win_rate = sigmoid(v . e + c) for the pair it was folded for; with landmarks, v . m(e) + u . e + c."""

    kind: ClassVar[str] = "mf"

    def __init__(
        self,
        embed: Embedder,
        folded: FoldedPair,
        landmarks: Landmarks | None = None,
        linear: FloatArray | None = None,
    ) -> None:
        super().__init__(embed)
        self.folded = folded
        self.landmarks = landmarks
        self.linear = linear
        self._vector32 = folded.vector.astype(np.float32)
        self._linear32 = None if linear is None else linear.astype(np.float32)

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        if self.landmarks is None:
            return folded_win_rates(self.folded, embeddings)
        logits = self.landmarks.memberships(embeddings) @ self.folded.vector + self.folded.constant
        return sigmoid(logits if self.linear is None else logits + np.asarray(embeddings, np.float64) @ self.linear)

    def score_one(self, embedding: Float32Array) -> float:
        if self.landmarks is None:
            return self._win_rate(embedding, float(embedding @ self._vector32))
        return self._win_rate(embedding, self.landmarks.mean(embedding, self._vector32))

    def read_many(self, prompts: Sequence[str]) -> list[Reading]:
        if self.landmarks is None:
            return super().read_many(prompts)
        embeddings = self.embed(prompts)
        means = zip(embeddings, self.landmarks.means(embeddings, self._vector32), strict=True)
        return [Reading(self._win_rate(each, mean), "win_rate", each.copy()) for each, mean in means]

    def _win_rate(self, embedding: Float32Array, logit: float) -> float:
        logit += self.folded.constant
        if self._linear32 is not None:
            logit += float(embedding @ self._linear32)
        return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else 1.0 - 1.0 / (1.0 + math.exp(logit))


def read_weights(checkpoint: Checkpoint) -> MFWeights:
    """The weights of an `mf` checkpoint.

    Raises:
        CheckpointError: an array is missing or does not fit the models or the embedder.
    """
    try:
        weights = MFWeights(
            checkpoint.array("model_embeddings", ndim=2),
            checkpoint.array("projection", ndim=2),
            checkpoint.array("classifier", ndim=1),
            checkpoint.array("projection_bias", ndim=1),
        )
    except ValueError as error:
        raise CheckpointError(f"checkpoint {checkpoint.path}: {error}") from error
    if len(weights.model_embeddings) != len(checkpoint.models):
        raise CheckpointError(
            f"checkpoint {checkpoint.path} names {len(checkpoint.models)} models "
            f"but holds {len(weights.model_embeddings)} rows of model_embeddings"
        )
    dim = weights.dim
    if _LANDMARKS in checkpoint.arrays:
        n_landmarks, dim = checkpoint.array(_LANDMARKS, ndim=2).shape
        if weights.dim != n_landmarks:
            raise CheckpointError(
                f"checkpoint {checkpoint.path} projects from {weights.dim} memberships, but has {n_landmarks} landmarks"
            )
    if checkpoint.embedder is not None and dim != checkpoint.embedder.dim:
        raise CheckpointError(
            f"checkpoint {checkpoint.path} projects from dimension {dim}, "
            f"but its embedder has dimension {checkpoint.embedder.dim}"
        )
    return weights


def _read_landmarks(checkpoint: Checkpoint) -> Landmarks | None:
    """The landmarks of an `mf` checkpoint, whose memberships its projection takes; None where it takes embeddings.

    Raises:
        CheckpointError: they are malformed.
    """
    if _LANDMARKS not in checkpoint.arrays:
        return None
    try:
        return Landmarks(checkpoint.array(_LANDMARKS, ndim=2), float(checkpoint.options["temperature"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.path}: landmarks are malformed: {error!r}") from error


def _read_linear(checkpoint: Checkpoint, reference: str, others: Sequence[str]) -> FloatArray | None:
    """u, what the embedding itself adds to logits beside the landmarks, shape (dim, n_others); None where nothing.

    Raises:
        CheckpointError: it does not fit the models or the embedder, or there are no landmarks.
    """
    if _LINEAR not in checkpoint.arrays:
        return None
    linear = checkpoint.array(_LINEAR, ndim=2).astype(np.float64)
    if _LANDMARKS not in checkpoint.arrays:
        raise CheckpointError(f"checkpoint {checkpoint.path} has array {_LINEAR!r} and no landmarks that it adds to")
    wanted = (len(checkpoint.models), checkpoint.array(_LANDMARKS, ndim=2).shape[1])
    if linear.shape != wanted:
        raise CheckpointError(
            f"checkpoint {checkpoint.path}: array {_LINEAR!r} has shape {linear.shape}, wanted {wanted}"
        )
    return np.asarray((linear[checkpoint.row(reference)] - linear[[checkpoint.row(name) for name in others]]).T)


class MFCandidatesRouter(EmbeddingRouter):
    """win_rate[m] = sigmoid(v[m] . e + c[m]), folded for the reference over every candidate."""

    kind: ClassVar[str] = "mf"

    def __init__(
        self,
        embed: Embedder,
        folded: Sequence[FoldedPair],
        landmarks: Landmarks | None = None,
        linear: FloatArray | None = None,
    ) -> None:
        """Takes the reference folded with each other candidate, in order; `linear` has shape (dim, n_others)."""
        super().__init__(embed)
        self._linear = linear
        self._vectors = np.stack([pair.vector for pair in folded], axis=1)
        self._constants = np.array([pair.constant for pair in folded])
        self._landmarks = landmarks

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        features = embeddings if self._landmarks is None else self._landmarks.memberships(embeddings)
        checked = np.asarray(check_embeddings(features, len(self._vectors)), dtype=np.float64)
        logits = checked @ self._vectors + self._constants
        rates = sigmoid(logits if self._linear is None else logits + np.asarray(embeddings, np.float64) @ self._linear)
        return np.concatenate([np.full((len(rates), 1), 0.5), rates], axis=1)

    def reading(self, embedding: Float32Array) -> Reading:
        return Reading.of(self.score(embedding[None, :])[0].tolist(), embedding=embedding)


def load_candidates(checkpoint: Checkpoint, embed: Embedder | None, candidates: Sequence[str]) -> MFCandidatesRouter:
    """The router of an `mf` checkpoint for some of its models, the reference first."""
    if embed is None:
        raise EmbedderMismatchError(f"checkpoint {checkpoint.path} of kind 'mf' needs an embedder and names none")
    weights, rows = read_weights(checkpoint), [checkpoint.row(name) for name in candidates]
    folded = [fold_pair(weights, rows[0], row) for row in rows[1:]]
    linear = _read_linear(checkpoint, candidates[0], candidates[1:])
    return MFCandidatesRouter(embed, folded, _read_landmarks(checkpoint), linear)


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> MFRouter:
    """The router of an `mf` checkpoint for a pair of its models."""
    if embed is None:
        raise EmbedderMismatchError(f"checkpoint {checkpoint.path} of kind 'mf' needs an embedder and names none")
    landmarks = _read_landmarks(checkpoint)
    folded = fold_pair(read_weights(checkpoint), checkpoint.row(pair.strong), checkpoint.row(pair.weak))
    linear = _read_linear(checkpoint, pair.strong, [pair.weak])
    return MFRouter(embed, folded, landmarks, None if linear is None else linear[:, 0])
