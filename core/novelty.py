"""How unlike the training prompts a prompt is: its distance to the nearest of their centroids.

    distance(e) = 1 - max_k cos(e, c_k)   in [0, 2]; 1 for an embedding of norm 0

The centroids are those of spherical k-means: unit vectors, each the direction of the mean of the prompts nearest to it.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray, IntArray
from pointsman.core.embedding import check_embeddings
from pointsman.core.similarity import unit_rows

__all__ = ["Centroids", "fit_centroids"]

_MAX_ROUNDS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Centroids:
    """Directions around which the training prompts lie.

    Attributes:
        vectors: at unit norm, float32, shape (n_centroids, dim).

    Raises:
        ValueError: there is none, or one is not finite.
    """

    vectors: Float32Array

    def __post_init__(self) -> None:
        vectors = np.asarray(self.vectors, dtype=np.float32)
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
            raise ValueError(f"centroids have shape {vectors.shape}, wanted (n_centroids, dim), finite, at least one")
        object.__setattr__(self, "vectors", unit_rows(vectors))

    def cosines(self, embeddings: AnyFloatArray) -> Float32Array:
        """Cosines to every centroid, shape (n_prompts, n_centroids), from embeddings of shape (n_prompts, dim).

        Raises:
            ValueError: `embeddings` have another dimension or are not finite.
        """
        checked = np.asarray(check_embeddings(embeddings, self.vectors.shape[1]), dtype=np.float32)
        return np.asarray(unit_rows(checked) @ self.vectors.T)

    def distances(self, embeddings: AnyFloatArray) -> FloatArray:
        """Distance of each prompt to its nearest centroid, shape (n_prompts,); see `cosines`."""
        return np.asarray(np.clip(1.0 - self.cosines(embeddings).max(axis=1).astype(np.float64), 0.0, 2.0))


def fit_centroids(embeddings: AnyFloatArray, n_centroids: int, *, rng: "np.random.Generator") -> Centroids:
    """Spherical k-means from random prompts, up to 30 rounds.

    Args:
        embeddings: shape (n_prompts, dim), at least one of them not zero.
        n_centroids: most centroids; fewer if there are fewer prompts, or a centroid is left without one.

    Raises:
        ValueError: `embeddings` are malformed or all zero, or `n_centroids` is below 1.
    """
    if n_centroids < 1:
        raise ValueError(f"n_centroids is {n_centroids}, wanted at least 1")
    unit = unit_rows(np.asarray(check_embeddings(embeddings, np.shape(embeddings)[-1]), dtype=np.float32))
    unit = unit[np.einsum("ij,ij->i", unit, unit) > 0.0]
    if not len(unit):
        raise ValueError("no embedding differs from zero: there is nothing to find centroids of")
    vectors = unit[rng.choice(len(unit), size=min(n_centroids, len(unit)), replace=False)]
    nearest: IntArray | None = None
    for _ in range(_MAX_ROUNDS):
        found = (unit @ vectors.T).argmax(axis=1)
        if nearest is not None and np.array_equal(found, nearest):
            break
        vectors, nearest = _means(unit, found), found
    return Centroids(vectors)


def _means(unit: Float32Array, nearest: IntArray) -> Float32Array:
    """Directions of the means of the prompts nearest to each centroid; a centroid without prompts is dropped."""
    order = np.argsort(nearest, kind="stable")
    starts = np.flatnonzero(np.diff(nearest[order], prepend=-1))
    return np.asarray(unit_rows(np.add.reduceat(unit[order], starts, axis=0)), dtype=np.float32)
