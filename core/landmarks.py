"""Landmarks: a prompt described by which of some directions it is near.

    m_j(e) = exp(cos(e, z_j) / T) / sum_i exp(cos(e, z_i) / T)   in [0, 1], adding up to 1

A linear model of the memberships m may say one thing of one kind of prompts and another of the next, as nearest
neighbours do, while a decision still costs one small product.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from pointsman.core.activations import softmax
from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.embedding import check_embeddings
from pointsman.core.similarity import unit_rows

__all__ = ["Landmarks"]

_LEAST_TEMPERATURE = 1e-3  # below it float32 would blur who is nearest
_BLOCK_VALUES = 9000  # of a product so small BLAS makes in one thread; to wake others takes milliseconds


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Directions and how sharply they divide the prompts.

    Attributes:
        vectors: z, at unit norm, float32, shape (n_landmarks, dim).
        temperature: T, at least 0.001; small leaves a prompt to the nearest landmark, infinity to all alike.

    Raises:
        ValueError: there is no landmark, a value is not finite, or the temperature is too low.
    """

    vectors: Float32Array
    temperature: float
    _blocks: Float32Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        vectors = np.asarray(self.vectors, dtype=np.float32)
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
            raise ValueError(f"landmarks have shape {vectors.shape}, wanted (n_landmarks, dim), finite, at least one")
        if not self.temperature >= _LEAST_TEMPERATURE:
            raise ValueError(f"temperature is {self.temperature}, wanted at least {_LEAST_TEMPERATURE}")
        object.__setattr__(self, "vectors", unit_rows(vectors))
        n_blocks = -(-vectors.size // _BLOCK_VALUES)
        blocks = np.zeros((n_blocks, -(-len(vectors) // n_blocks), self.dim), dtype=np.float32)
        blocks.reshape(-1, self.dim)[: len(vectors)] = self.vectors / np.float32(self.temperature)
        object.__setattr__(self, "_blocks", blocks)

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
        return softmax(unit_rows(e) @ self.vectors.T.astype(np.float64) / self.temperature)

    def mean(self, embedding: Float32Array, values: Float32Array) -> float:
        """Mean of one value per landmark, shape (n_landmarks,), by one prompt's memberships; in float32."""
        norm = math.sqrt(float(embedding @ embedding))
        direction = embedding / np.float32(norm if norm > 0.0 else 1.0)
        scores = (self._blocks @ direction).ravel()[: len(self)]
        weights = np.exp(scores - np.maximum.reduce(scores))  # quicker than the methods, which go through Python
        return float(weights @ values) / float(np.add.reduce(weights))

    def means(self, embeddings: Float32Array, values: Float32Array) -> list[float]:
        """`mean` of several prompts, from embeddings of shape (n_prompts, dim): the same numbers in less time."""
        norms = [math.sqrt(float(embedding @ embedding)) for embedding in embeddings]
        directions = embeddings / np.array([norm if norm > 0.0 else 1.0 for norm in norms], np.float32)[:, None]
        scores = (self._blocks @ directions[:, None, :, None]).reshape(len(embeddings), self._blocks[:, :, 0].size)
        scores = scores[:, : len(self)]
        weights = np.exp(scores - np.maximum.reduce(scores, axis=1, keepdims=True))
        return [float(each @ values) / float(np.add.reduce(each)) for each in weights]
