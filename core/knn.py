"""Nearest neighbours: a prompt's win rate is the strong model's share of wins on the most similar prompts.

    share(e) = sum_i w_i share_i / sum_i w_i   over the k training prompts of highest cosine s_i to e
    w_i      = exp((s_i - s_1) / temperature),  s_1 the highest
    win_rate = sigmoid(slope x logit(share) + intercept), slope and intercept fitted on left-out prompts

`share_i` is the share of the win that went to the strong side on prompt i: 1 if it scored higher, 0.5 if equal, 0 if
lower; between groups of models, the mean over all pairs of one strong and one weak model that both answered.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray, IntArray
from pointsman.core.embedding import check_embeddings
from pointsman.core.similarity import unit_rows

__all__ = ["Neighbours", "left_out_shares", "nearest", "neighbour_means", "neighbour_shares", "win_shares"]

_CHUNK = 64


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Training prompts of known outcome.

    Attributes:
        embeddings: at unit norm, float32, shape (n_prompts, dim).
        share: strong's share of the win on each, in [0, 1], shape (n_prompts,).
        k: how many neighbours count; all if there are fewer.
        temperature: of the weights, positive; small trusts the nearest, infinity all alike.

    Raises:
        ValueError: shapes do not fit, there is no prompt, or a value leaves its range.
    """

    embeddings: Float32Array
    share: FloatArray
    k: int
    temperature: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "embeddings", unit_rows(np.asarray(self.embeddings, dtype=np.float32)))
        object.__setattr__(self, "share", np.asarray(self.share, dtype=np.float64))
        if self.embeddings.ndim != 2 or self.share.shape != self.embeddings.shape[:1] or not self.share.size:
            raise ValueError(
                f"embeddings and share have shapes {self.embeddings.shape} and {self.share.shape}, "
                "wanted (n_prompts, dim) and (n_prompts,), at least one prompt"
            )
        if not ((self.share >= 0) & (self.share <= 1)).all():
            raise ValueError("a share leaves [0, 1]")
        if self.k < 1 or not self.temperature > 0:
            raise ValueError(f"k is {self.k}, temperature {self.temperature}: wanted k >= 1, temperature > 0")


def neighbour_shares(neighbours: Neighbours, embeddings: AnyFloatArray) -> FloatArray:
    """Weighted mean share of each prompt's neighbours, in [0, 1], shape (n_queries,).

    Args:
        embeddings: shape (n_queries, dim).

    Raises:
        ValueError: `embeddings` have another dimension or are not finite.
    """
    dim = neighbours.embeddings.shape[1]
    queries = np.asarray(unit_rows(np.asarray(check_embeddings(embeddings, dim))), dtype=np.float32)
    chunks = [
        _weighted_mean(neighbours, neighbours.embeddings @ queries[start : start + _CHUNK].T)
        for start in range(0, len(queries), _CHUNK)
    ]
    return np.concatenate(chunks) if chunks else np.zeros(0)


def left_out_shares(neighbours: Neighbours, rows: IntArray, group: IntArray) -> FloatArray:
    """What `neighbour_shares` would give for training prompts if they, and all of their group, were left out.

    Args:
        rows: training prompts, shape (n_queries,).
        group: of every training prompt, shape (n_prompts,); equal numbers belong together.

    Raises:
        ValueError: a group is all there is.
    """
    rows = np.asarray(rows)
    parts = []
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        cosines = neighbours.embeddings @ neighbours.embeddings[chunk].T
        cosines[group[:, None] == group[chunk][None, :]] = -np.inf
        if np.isneginf(cosines).all(axis=0).any():
            raise ValueError("leaving out a prompt's group leaves no neighbour")
        parts.append(_weighted_mean(neighbours, cosines))
    return np.concatenate(parts) if parts else np.zeros(0)


def nearest(neighbours: Neighbours, embedding: AnyFloatArray, n: int) -> tuple[IntArray, FloatArray]:
    """Rows and cosines of the n training prompts most like one prompt, the nearest first, each of shape (n,).

    Args:
        embedding: shape (dim,).
        n: fewer are given where there are fewer.

    Raises:
        ValueError: `embedding` has another dimension or is not finite.
    """
    query = unit_rows(np.asarray(check_embeddings(embedding[None, :], neighbours.embeddings.shape[1])))[0]
    cosines = neighbours.embeddings @ query.astype(np.float32)
    rows = np.argsort(-cosines, kind="stable")[:n]
    return rows, cosines[rows].astype(np.float64)


def neighbour_means(
    embeddings: Float32Array,
    values: FloatArray,
    queries: AnyFloatArray,
    *,
    k: int,
    temperature: float,
    left_out: IntArray | None = None,
) -> FloatArray:
    """Weighted means of some values of each query's neighbours, shape (n_queries, n_values).

    Args:
        embeddings: of the training prompts, unit norm, shape (n_prompts, dim).
        values: of the training prompts, shape (n_prompts, n_values).
        queries: embeddings, shape (n_queries, dim).
        k, temperature: as those of `Neighbours`.
        left_out: training prompt that each query must not learn from, shape (n_queries,); none if None.

    Raises:
        ValueError: `queries` have another dimension or are not finite.
    """
    units = np.asarray(unit_rows(np.asarray(check_embeddings(queries, embeddings.shape[1]))), dtype=np.float32)
    means = np.empty((len(units), values.shape[1]))
    for start in range(0, len(units), _CHUNK):
        cosines = units[start : start + _CHUNK] @ embeddings.T
        if left_out is not None:
            cosines[np.arange(len(cosines)), left_out[start : start + _CHUNK]] = -np.inf
        rows, weights = _nearest_weights(cosines, k, temperature)
        means[start : start + _CHUNK] = (weights[..., None] * values[rows]).sum(axis=1)
    return means


def win_shares(scores: FloatArray, strong: IntArray, weak: IntArray, *, margin: float = 0.0) -> FloatArray:
    """Strong side's share of the win per prompt, shape (n_prompts,); NaN where no strong met a weak model.

    Args:
        scores: of every model on every prompt, NaN where it did not answer, shape (n_prompts, n_models).
        strong, weak: columns of the models of each side.
        margin: scores that differ by no more than this are a tie.
    """
    total, n_pairs = np.zeros(len(scores)), np.zeros(len(scores))
    for column in strong:
        gap = scores[:, [column]] - scores[:, weak]
        met = np.isfinite(gap)
        won = np.where(np.abs(gap) <= margin, 0.5, (gap > 0).astype(np.float64))
        total += np.where(met, won, 0.0).sum(axis=1)
        n_pairs += met.sum(axis=1)
    return np.asarray(np.where(n_pairs > 0, total / np.maximum(n_pairs, 1.0), np.nan))


def _weighted_mean(neighbours: Neighbours, cosines: AnyFloatArray) -> FloatArray:
    """Weighted mean share over the k highest cosines of each column of (n_prompts, n_queries)."""
    rows, weights = _nearest_weights(np.ascontiguousarray(cosines.T), neighbours.k, neighbours.temperature)
    share = neighbours.share[rows]
    mean = (weights * share).sum(axis=1)  # which rounding may put an ulp outside of what it is a mean of
    return np.asarray(np.clip(mean, share.min(axis=1), share.max(axis=1)))


def _nearest_weights(cosines: AnyFloatArray, k: int, temperature: float) -> tuple[IntArray, FloatArray]:
    """Rows and weights, which add up to 1, of the k highest cosines of each query of (n_queries, n_prompts)."""
    k = min(k, cosines.shape[1])
    nearest = np.argpartition(cosines, -k, axis=1)[:, -k:]
    similarity = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64)
    weights = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / temperature)
    return nearest, np.asarray(weights / weights.sum(axis=1, keepdims=True))
