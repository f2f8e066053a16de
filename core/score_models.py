"""What models are expected to score, and to cost, on a prompt: learnt from an outcome table.

Every column of the table is predicted by itself, from the prompts on which it is known:

    neighbours   (sum_i w_i y_i + prior mean) / (sum_i w_i + prior)   over the k known prompts of highest cosine s_i,
                 w_i = min(1, exp((s_i - full) / temperature)): the mean of the nearest, the closer to the mean of all
                 the further away they are; full is the cosine from which on a prompt counts fully (without one, s_1)
    linear       mean + sum_j b_j (m_j(e) - mean m_j)                 ridge rows on memberships, see `core.landmarks`
    blend        weight x linear + (1 - weight) x neighbours

What is predicted counts beyond a model's mean as far as cross-validation bears it out, b in [0, 1] for each model:

    W(ref, m) = 1/2 + (g_ref(e) - g_m(e)) / 2,   g_m(e) = mean_m + k(e) b_m (f_m(e) - mean_m)

with k = 1 for prompts near the centroids of the labelled ones, falling to 0 for those further away: how far is decided
by cross-validation, see `Coverage`. Of a source that was never seen nothing is predicted beyond the means.
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
    "ramp",
    "shrunk_win_rates",
    "usual_cosine",
]

Predictor: TypeAlias = Callable[[AnyFloatArray], FloatArray]  # embeddings (n_prompts, dim) -> (n_prompts, n_columns)
_CHUNK = 64
_REACH = 1.5  # times as many as the rarest column needs on average: among so many nearest each finds its own
_MAX_DRAWN = 1000


def column_means(values: FloatArray) -> FloatArray:
    """Mean of each column where it is known, shape (n_columns,); NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


class NeighbourMeans:
    """Means of the nearest labelled prompts, each column over its own."""

    def __init__(
        self,
        embeddings: AnyFloatArray,
        values: FloatArray,
        *,
        k: int,
        temperature: float,
        prior: float,
        full: float | None = None,
    ) -> None:
        """Takes the labelled prompts.

        Args:
            embeddings: shape (n_prompts, dim).
            values: shape (n_prompts, n_columns), NaN where a value is not known.
            k: neighbours that count, fewer where there are fewer.
            temperature: of their weights, positive.
            prior: how many prompts of weight 1 the column's mean counts as.
            full: cosine from which on a prompt has weight 1; that of the nearest prompt if None.

        Raises:
            ValueError: shapes do not fit, or a setting leaves its range.
        """
        self.embeddings = unit_rows(np.asarray(embeddings, dtype=np.float32))
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or len(values) != len(self.embeddings) or not len(values):
            raise ValueError(f"embeddings and values have shapes {np.shape(embeddings)} and {values.shape}")
        if k < 1 or not temperature > 0 or not prior >= 0:
            raise ValueError(f"k is {k}, temperature {temperature}, prior {prior}: wanted k >= 1, > 0 and >= 0")
        self._k, self._temperature, self._prior, self._full = k, temperature, prior, full
        self._means = column_means(values)
        known = np.isfinite(values)
        self._values = np.where(known, values, 0.0)
        patterns, pattern = np.unique(known, axis=1, return_inverse=True)
        self._known, self._pattern = patterns, pattern.ravel()  # most columns are known on the same prompts as others
        n_known = patterns.sum(axis=0)
        self._wanted = np.minimum(k, n_known)  # neighbours of each pattern
        rarest = n_known[n_known > 0].min(initial=len(values)) / len(values)
        self._reach = min(len(values), int(_REACH * k / rarest) + k)
        self._complete = bool(known.all())

    def __call__(self, embeddings: AnyFloatArray) -> FloatArray:
        checked = np.asarray(check_embeddings(embeddings, self.embeddings.shape[1]), dtype=np.float32)
        queries = unit_rows(checked)
        parts = [self._chunk(queries[start : start + _CHUNK]) for start in range(0, len(queries), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self._means)))

    def _chunk(self, queries: Float32Array) -> FloatArray:
        cosines: Float32Array = np.asarray(queries @ self.embeddings.T, dtype=np.float32)
        if self._complete:
            return self._mean(cosines, self._values)
        nearest, similarity = _nearest(cosines, self._reach, in_order=True)
        known = self._known[nearest]
        count = np.cumsum(known, axis=1)
        counts = known & (count <= self._k)
        seen = np.where(counts, similarity[:, :, None], -np.inf)
        weights = np.where(counts, self._weights(seen, seen.max(axis=1, keepdims=True)), 0.0)
        total = np.einsum("qkc,qkc->qc", weights[:, :, self._pattern], self._values[nearest])
        found = self._drawn(weights.sum(axis=1)[:, self._pattern], total, self._means)
        for pattern in np.flatnonzero((count[:, -1] < self._wanted).any(axis=0)):  # known on few of the nearest
            rows, columns = np.flatnonzero(self._known[:, pattern]), np.flatnonzero(self._pattern == pattern)
            found[:, columns] = self._mean(cosines[:, rows], self._values[np.ix_(rows, columns)])
        return found

    def _mean(self, cosines: Float32Array, values: FloatArray) -> FloatArray:
        """Where all columns of `values`, shape (n_labelled, n_columns), are known."""
        nearest, similarity = _nearest(cosines, min(cosines.shape[1], self._k))
        weights = self._weights(similarity, similarity.max(axis=1, keepdims=True))
        total = (weights[:, None, :] @ values[nearest])[:, 0]
        return self._drawn(weights.sum(axis=1)[:, None], total, values.mean(axis=0))

    def _drawn(self, count: FloatArray, total: FloatArray, means: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):  # without neighbours and without a prior nothing is known
            return np.asarray((total + self._prior * means) / (count + self._prior))

    def _weights(self, similarity: FloatArray, first: FloatArray) -> FloatArray:
        full = first if self._full is None else self._full
        with np.errstate(invalid="ignore"):  # a column that knows none of them has no first
            return np.asarray(np.exp(np.minimum(similarity - full, 0.0) / self._temperature))


def _nearest(cosines: Float32Array, k: int, *, in_order: bool = False) -> tuple[IntArray, FloatArray]:
    """Rows of the k highest cosines of each query, and these; shape (n_queries, k) each."""
    rows = np.argpartition(cosines, -k, axis=1)[:, -k:]
    similarity = np.take_along_axis(cosines, rows, axis=1).astype(np.float64)
    if in_order:
        order = np.argsort(-similarity, axis=1, kind="stable")
        rows, similarity = np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarity, order, axis=1)
    return rows, similarity


def usual_cosine(embeddings: AnyFloatArray, *, rng: np.random.Generator) -> float:
    """Median cosine of a labelled prompt to the nearest other one, from at most 1,000 of them.

    Args:
        embeddings: at unit norm, shape (n_prompts, dim), at least two.
    """
    unit = np.asarray(embeddings, dtype=np.float32)
    drawn = rng.permutation(len(unit))[:_MAX_DRAWN]
    nearest = np.empty(len(drawn))
    for start in range(0, len(drawn), _CHUNK):
        rows = drawn[start : start + _CHUNK]
        cosines = unit[rows] @ unit.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        nearest[start : start + _CHUNK] = cosines.max(axis=1)
    return float(np.median(nearest))


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
        return ramp(self.centroids.distances(embeddings), self.near, self.far)


def ramp(distances: FloatArray, near: float, far: float) -> FloatArray:
    """1 up to `near`, falling to 0 at `far`; shape of `distances`."""
    return np.asarray(np.clip((far - distances) / max(far - near, 1e-9), 0.0, 1.0))


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
