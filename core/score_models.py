"""What models are expected to score, and to cost, on a prompt: learnt from an outcome table.

Every column of the table is predicted by itself, from the prompts on which it is known:

    neighbours   (sum_i w_i y_i + prior mean) / (sum_i w_i + prior)   over the k known prompts of highest cosine s_i,
                 w_i = exp((s_i - s_1) / temperature): the mean of the nearest, drawn to the mean of all
    linear       mean + sum_j b_j (m_j(e) - mean m_j)                 ridge rows on memberships, see `core.landmarks`
    blend        weight x linear + (1 - weight) x neighbours

What is predicted counts beyond a model's mean as far as cross-validation bears it out, b in [0, 1] for each model:

    W(ref, m) = 1/2 + (g_ref(e) - g_m(e)) / 2,   g_m(e) = mean_m + k(e) b_m (f_m(e) - mean_m)

with k = 1 for prompts as near to the centroids of the labelled ones as a quarter of them when left out, falling to 0
for those further away than nine in ten: of a source that was never seen nothing is predicted beyond the means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray, IntArray
from pointsman.core.embedding import check_embeddings
from pointsman.core.landmarks import Landmarks
from pointsman.core.novelty import Centroids
from pointsman.core.similarity import unit_rows

__all__ = [
    "Coverage",
    "LandmarkRows",
    "NeighbourMeans",
    "Predictor",
    "blend",
    "column_means",
    "fit_rows",
    "shrunk_win_rates",
]

Predictor: TypeAlias = Callable[[AnyFloatArray], FloatArray]  # embeddings (n_prompts, dim) -> (n_prompts, n_columns)
_CHUNK = 64


def column_means(values: FloatArray) -> FloatArray:
    """Mean of each column where it is known, shape (n_columns,); NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


class NeighbourMeans:
    """Means of the nearest labelled prompts, each column over its own."""

    def __init__(
        self, embeddings: AnyFloatArray, values: FloatArray, *, k: int, temperature: float, prior: float
    ) -> None:
        """Takes the labelled prompts.

        Args:
            embeddings: shape (n_prompts, dim).
            values: shape (n_prompts, n_columns), NaN where a value is not known.
            k: neighbours that count, fewer where there are fewer.
            temperature: of their weights, positive.
            prior: how many perfectly similar prompts the column's mean counts as.

        Raises:
            ValueError: shapes do not fit, or a setting leaves its range.
        """
        self.embeddings = unit_rows(np.asarray(embeddings, dtype=np.float32))
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or len(values) != len(self.embeddings) or not len(values):
            raise ValueError(f"embeddings and values have shapes {np.shape(embeddings)} and {values.shape}")
        if k < 1 or not temperature > 0 or not prior >= 0:
            raise ValueError(f"k is {k}, temperature {temperature}, prior {prior}: wanted k >= 1, > 0 and >= 0")
        self._k, self._temperature, self._prior = k, temperature, prior
        self._means = column_means(values)
        known = np.isfinite(values)
        patterns, group = np.unique(known, axis=1, return_inverse=True)
        self._groups: list[tuple[IntArray, IntArray, FloatArray]] = []  # columns, rows, values: known on the same rows
        for number in range(patterns.shape[1]):
            columns, rows = np.flatnonzero(group.ravel() == number), np.flatnonzero(patterns[:, number])
            if rows.size:
                self._groups.append((columns, rows, values[np.ix_(rows, columns)]))

    def __call__(self, embeddings: AnyFloatArray) -> FloatArray:
        checked = np.asarray(check_embeddings(embeddings, self.embeddings.shape[1]), dtype=np.float32)
        queries = unit_rows(checked)
        parts = [self._chunk(queries[start : start + _CHUNK]) for start in range(0, len(queries), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self._means)))

    def _chunk(self, queries: Float32Array) -> FloatArray:
        cosines = queries @ self.embeddings.T
        found = np.full((len(queries), len(self._means)), np.nan)
        for columns, rows, values in self._groups:
            nearby = cosines if len(rows) == cosines.shape[1] else cosines[:, rows]
            k = min(self._k, nearby.shape[1])
            nearest = np.argpartition(nearby, -k, axis=1)[:, -k:]
            similarity = np.take_along_axis(nearby, nearest, axis=1).astype(np.float64)
            weights = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / self._temperature)
            total = np.einsum("qk,qkc->qc", weights, values[nearest]) + self._prior * self._means[columns]
            found[:, columns] = total / (weights.sum(axis=1, keepdims=True) + self._prior)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkRows:
    """One row of coefficients per column, on memberships of landmarks.

    Attributes:
        landmarks: the directions.
        coefficients: shape (n_columns, n_landmarks).
        constants: shape (n_columns,); NaN for a column that nothing is known of.
    """

    landmarks: Landmarks
    coefficients: FloatArray
    constants: FloatArray

    def __call__(self, embeddings: AnyFloatArray) -> FloatArray:
        return np.asarray(self.landmarks.memberships(embeddings) @ self.coefficients.T + self.constants)


def fit_rows(
    landmarks: Landmarks, embeddings: AnyFloatArray, values: FloatArray, *, penalties: FloatArray
) -> list[LandmarkRows]:
    """Ridge rows for each penalty; every column from the prompts on which it is known.

    Memberships are centred and scaled to mean square 1 over all prompts, so a penalty means the same for any number of
    landmarks. The mean is not penalised.

    Args:
        values: shape (n_prompts, n_columns), NaN where not known.
        penalties: shape (n_penalties,), positive.
    """
    m = landmarks.memberships(embeddings)
    scale = float(np.mean((m**2).sum(axis=1))) ** -0.5
    coefficients = np.zeros((len(penalties), values.shape[1], m.shape[1]))
    constants = np.tile(column_means(values), (len(penalties), 1))
    known = np.isfinite(values)
    patterns, group = np.unique(known, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        rows, columns = np.flatnonzero(patterns[:, number]), np.flatnonzero(group.ravel() == number)
        if not rows.size:
            continue
        x, y = m[rows] * scale, values[np.ix_(rows, columns)]
        centre, mean = x.mean(axis=0), y.mean(axis=0)
        u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
        projected = u.T @ (y - mean)
        for i, penalty in enumerate(penalties):
            row = (vt.T * (s / (s**2 + penalty))) @ projected
            coefficients[i, columns] = row.T * scale
            constants[i, columns] = mean - centre @ row
    return [LandmarkRows(landmarks, coefficients[i], constants[i]) for i in range(len(penalties))]


def blend(linear: Predictor, neighbours: Predictor, weight: float) -> Predictor:
    """weight x linear + (1 - weight) x neighbours; one that has no weight is not asked."""
    if weight >= 1.0:
        return linear
    if weight <= 0.0:
        return neighbours
    return lambda embeddings: weight * linear(embeddings) + (1.0 - weight) * neighbours(embeddings)


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """How far prompts are covered by the labelled ones.

    Attributes:
        centroids: of the labelled prompts.
        near, far: distances up to which a prompt is covered, and from which it is not at all.
    """

    centroids: Centroids
    near: float
    far: float

    def __call__(self, embeddings: AnyFloatArray) -> FloatArray:
        """k in [0, 1], shape (n_prompts,)."""
        distances = self.centroids.distances(embeddings)
        return np.asarray(np.clip((self.far - distances) / max(self.far - self.near, 1e-9), 0.0, 1.0))


def shrunk_win_rates(scores: FloatArray, means: FloatArray, shrinkage: FloatArray, *, reference: int = 0) -> FloatArray:
    """Win rates of the reference over every model in [0, 1], 1/2 for itself, shape (n_prompts, n_models).

    Args:
        scores: predicted ones in [0, 1], shape (n_prompts, n_models).
        means: of each model, shape (n_models,), or as known for each prompt, shape of `scores`.
        shrinkage: how far predictions count beyond the mean, shape (n_models,), or shape of `scores`.
    """
    counted = means + shrinkage * (scores - means)
    rates = 0.5 + (counted[:, [reference]] - counted) / 2.0
    rates[:, reference] = 0.5
    return np.asarray(np.clip(rates, 0.0, 1.0))
