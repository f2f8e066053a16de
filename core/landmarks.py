"""Landmarks: a prompt described by which of some directions it is near.

    m_j(e) = exp(cos(e, z_j) / T) / sum_i exp(cos(e, z_i) / T)   in [0, 1], adding up to 1

A linear model of the memberships m may say one thing of one kind of prompts and another of the next, as nearest
neighbours do, while a decision still costs one small product.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.embedding import check_embeddings
from pointsman.core.similarity import unit_rows

__all__ = ["Landmarks"]


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Directions and how sharply they divide the prompts.

    Attributes:
        vectors: z, at unit norm, float32, shape (n_landmarks, dim).
        temperature: T, positive; small leaves a prompt to the nearest landmark, infinity to all alike.

    Raises:
        ValueError: there is no landmark, a value is not finite, or the temperature is not positive.
    """

    vectors: Float32Array
    temperature: float
    _columns: Float32Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        vectors = np.asarray(self.vectors, dtype=np.float32)
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
            raise ValueError(f"landmarks have shape {vectors.shape}, wanted (n_landmarks, dim), finite, at least one")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, wanted a positive number")
        object.__setattr__(self, "vectors", unit_rows(vectors))
        columns = np.ascontiguousarray(self.vectors.T / np.float32(self.temperature))
        object.__setattr__(self, "_columns", columns)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.vectors.shape[1])

    def memberships(self, embeddings: AnyFloatArray) -> FloatArray:
        """Of prompts, shape (n_prompts, n_landmarks), from embeddings of shape (n_prompts, dim).

        Raises:
            ValueError: `embeddings` have another dimension or are not finite.
        """
        e = np.asarray(check_embeddings(embeddings, self.dim), dtype=np.float64)
        scores = (unit_rows(e) @ self.vectors.T.astype(np.float64)) / self.temperature
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def mean(self, embedding: Float32Array, values: Float32Array) -> float:
        """Mean of one value per landmark, shape (n_landmarks,), by one prompt's memberships; in float32."""
        norm = math.sqrt(float(embedding @ embedding))
        # einsum, not @: BLAS would wake its threads for a product of this size.
        scores = np.einsum("i,ij->j", embedding / np.float32(norm if norm > 0.0 else 1.0), self._columns)
        weights = np.exp(scores - scores.max())
        return float(weights @ values) / float(weights.sum())
