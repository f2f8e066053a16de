"""Similarity-weighted ranking: ratings fitted anew for every prompt (Ong et al. 2024, section 3.1).

Battles are weighted by the similarity of their prompt to the query, and tiers of models take the place of models:

    win_rate = sigmoid(r_strong - r_weak),  r the weighted maximum-likelihood ratings of the tiers

All that a query needs of the battles is the weighted win table of the tiers. Battles therefore lie sorted by who met
whom with what outcome (a *segment*), and the table is one matrix-vector product, its weights, and one sum per segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pointsman.core.activations import sigmoid
from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray, IntArray
from pointsman.core.battles import Battles
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder, check_embeddings
from pointsman.core.errors import CheckpointError, EmbedderMismatchError, FitError
from pointsman.core.pair import ModelPair
from pointsman.core.ratings import fit_ratings, newton_ratings
from pointsman.core.router import EmbeddingRouter, Reading
from pointsman.core.similarity import similarity_weights, unit_rows

__all__ = [
    "SWCandidatesRouter",
    "SWRankingRouter",
    "TierBattles",
    "fold_battles",
    "load",
    "load_candidates",
    "score_queries",
]

_CHUNK = 64


@dataclass(frozen=True, slots=True, eq=False)
class TierBattles:
    """Battles between tiers, sorted into segments of the same two tiers and outcome.

    Attributes:
        embeddings: prompt of each battle at unit norm, or the reduction of such, float32, shape (n_battles, dim).
        starts: first battle of each segment, shape (n_segments,).
        first, second: the tiers of each segment, first < second, shape (n_segments,).
        outcome: share of the win that goes to `first`, shape (n_segments,).
        n_tiers: number of tiers.
    """

    embeddings: Float32Array
    starts: IntArray
    first: IntArray
    second: IntArray
    outcome: FloatArray
    n_tiers: int

    def win_tables(self, weights: AnyFloatArray) -> FloatArray:
        """Weighted wins of tier over tier, shape (n_queries, n_tiers, n_tiers).

        Args:
            weights: weight of each battle, shape (n_queries, n_battles).
        """
        mass = np.add.reduceat(weights, self.starts, axis=1, dtype=np.float64)
        tables = np.zeros((len(weights), self.n_tiers, self.n_tiers))
        rows = np.arange(len(weights))[:, None]
        np.add.at(tables, (rows, self.first[None, :], self.second[None, :]), mass * self.outcome)
        np.add.at(tables, (rows, self.second[None, :], self.first[None, :]), mass * (1.0 - self.outcome))
        return tables

    def reduced(self, reduction: Float32Array) -> "TierBattles":
        """The battles with embeddings of fewer dimensions, which keep the inner products of the full ones nearly.

        Args:
            reduction: orthonormal columns, shape (dim, reduced_dim).
        """
        return replace(self, embeddings=self.embeddings @ reduction)


def fold_battles(battles: Battles, embeddings: AnyFloatArray, tiers: IntArray) -> TierBattles:
    """Battles between models as sorted battles between tiers; those inside one tier tell nothing and are dropped.

    Args:
        battles: weights must be 1: similarity is what weighs battles here.
        embeddings: of each battle's prompt, shape (n_battles, dim).
        tiers: of each model, shape (n_models,).

    Raises:
        ValueError: shapes do not match, or a weight is not 1.
        FitError: no battle is left between different tiers.
    """
    if len(embeddings) != len(battles):
        raise ValueError(f"{len(embeddings)} embeddings for {len(battles)} battles: wanted one per battle")
    if (battles.weight != 1.0).any():
        raise ValueError("sw_ranking weighs battles by similarity: their own weights must be 1")
    a, b = tiers[battles.model_a], tiers[battles.model_b]
    between = np.flatnonzero(a != b)
    if not between.size:
        raise FitError("all battles are inside one tier: use more tiers or more models")
    a, b, outcome = a[between], b[between], battles.outcome[between]
    first, second = np.minimum(a, b), np.maximum(a, b)
    outcome = np.where(a < b, outcome, 1.0 - outcome)
    order = np.lexsort((outcome, second, first))
    keys = np.stack([first[order], second[order], outcome[order]])
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(keys, axis=1) != 0).any(axis=0))))
    sorted_embeddings = unit_rows(np.asarray(embeddings, dtype=np.float32)[between[order]])
    return TierBattles(
        sorted_embeddings,
        starts,
        first[order][starts],
        second[order][starts],
        outcome[order][starts],
        int(tiers.max()) + 1,
    )


class SWRankingRouter(EmbeddingRouter):
    """Win rate of one tier over another from similarity-weighted ratings.

    With a `reduction`, shape (dim, reduced_dim), queries are reduced like the battles' embeddings were.
    """

    kind: ClassVar[str] = "sw_ranking"

    def __init__(
        self,
        embed: Embedder,
        battles: TierBattles,
        *,
        strong_tier: int,
        weak_tier: int,
        reduction: Float32Array | None = None,
    ) -> None:
        super().__init__(embed)
        self.battles = battles
        self.strong_tier = strong_tier
        self.weak_tier = weak_tier
        self.reduction = reduction

    @property
    def blocking(self) -> bool:
        return True

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        queries = _queries(self.battles, self.reduction, embeddings)
        return score_queries(self.battles, queries, self.strong_tier, self.weak_tier)


class SWCandidatesRouter(EmbeddingRouter):
    """Win rates of the reference's tier over every candidate's; 1/2 for those in the same tier."""

    kind: ClassVar[str] = "sw_ranking"

    def __init__(
        self,
        embed: Embedder,
        battles: TierBattles,
        tiers: IntArray,
        *,
        reduction: Float32Array | None = None,
    ) -> None:
        """Takes the tier of each candidate, the reference first, shape (n_candidates,)."""
        super().__init__(embed)
        self._battles, self._tiers, self._reduction = battles, tiers, reduction

    @property
    def blocking(self) -> bool:
        return True

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        ratings = tier_ratings(self._battles, _queries(self._battles, self._reduction, embeddings))[:, self._tiers]
        return sigmoid(ratings[:, :1] - ratings)

    def reading(self, embedding: Float32Array) -> Reading:
        return Reading.of(self.score(embedding[None, :])[0].tolist(), embedding=embedding)


def _queries(battles: TierBattles, reduction: Float32Array | None, embeddings: AnyFloatArray) -> Float32Array:
    """Embeddings at unit norm, reduced like the battles' were."""
    dim = battles.embeddings.shape[1] if reduction is None else len(reduction)
    queries = np.asarray(unit_rows(np.asarray(check_embeddings(embeddings, dim), np.float32)), np.float32)
    return queries if reduction is None else np.asarray(queries @ reduction, np.float32)


def tier_ratings(battles: TierBattles, queries: AnyFloatArray) -> FloatArray:
    """Ratings of all tiers on queries of unit norm, reduced like the battles, in nats, shape (n_queries, n_tiers)."""
    chunks = [_ratings(battles, queries[i : i + _CHUNK]) for i in range(0, len(queries), _CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros((0, battles.n_tiers))


def score_queries(battles: TierBattles, queries: AnyFloatArray, strong_tier: int, weak_tier: int) -> FloatArray:
    """Win rates of `strong_tier` over `weak_tier` on queries of unit norm, reduced like the battles, (n_queries,)."""
    ratings = tier_ratings(battles, queries)
    return sigmoid(ratings[:, strong_tier] - ratings[:, weak_tier])


def _ratings(battles: TierBattles, queries: AnyFloatArray) -> FloatArray:
    """Ratings of the tiers for each query, in nats, shape (n_queries, n_tiers)."""
    cosines = np.ascontiguousarray((battles.embeddings @ queries.T).T)
    tables = battles.win_tables(similarity_weights(cosines))
    try:
        return newton_ratings(tables)
    except FitError:  # a table is separable: rate one by one, where that is handled
        return np.stack([fit_ratings(table).ratings for table in tables])


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> SWRankingRouter:
    """The router of an `sw_ranking` checkpoint for a pair of its models.

    Raises:
        CheckpointError: arrays do not fit together, or both models are in one tier.
    """
    embed, battles, tiers, reduction = _read(checkpoint, embed)
    strong, weak = int(tiers[checkpoint.row(pair.strong)]), int(tiers[checkpoint.row(pair.weak)])
    if strong == weak:
        raise CheckpointError(f"{pair.strong!r} and {pair.weak!r} are both in tier {strong}: train with more tiers")
    return SWRankingRouter(embed, battles, strong_tier=strong, weak_tier=weak, reduction=reduction)


def load_candidates(checkpoint: Checkpoint, embed: Embedder | None, candidates: Sequence[str]) -> SWCandidatesRouter:
    """The router of an `sw_ranking` checkpoint for some of its models, the reference first.

    Raises:
        CheckpointError: arrays do not fit together, or all candidates are in one tier.
    """
    embed, battles, tiers, reduction = _read(checkpoint, embed)
    rows = np.array([checkpoint.row(name) for name in candidates])
    if np.unique(tiers[rows]).size < 2:
        raise CheckpointError(f"{', '.join(candidates)} are all in tier {tiers[rows[0]]}: train with more tiers")
    return SWCandidatesRouter(embed, battles, tiers[rows], reduction=reduction)


def _read(
    checkpoint: Checkpoint, embed: Embedder | None
) -> tuple[Embedder, TierBattles, np.ndarray, Float32Array | None]:
    if embed is None:
        raise EmbedderMismatchError(f"checkpoint {checkpoint.path} of kind 'sw_ranking' needs an embedder")
    tiers = checkpoint.array("tiers", ndim=1)
    battles = TierBattles(
        checkpoint.array("embeddings", ndim=2),
        checkpoint.array("segment_starts", ndim=1),
        checkpoint.array("segment_first", ndim=1),
        checkpoint.array("segment_second", ndim=1),
        checkpoint.array("segment_outcome", ndim=1),
        int(tiers.max(initial=0)) + 1,
    )
    _check(checkpoint, battles, tiers)
    reduction = checkpoint.array("reduction", ndim=2) if "reduction" in checkpoint.arrays else None
    return embed, battles, tiers, reduction


def _check(checkpoint: Checkpoint, battles: TierBattles, tiers: np.ndarray) -> None:
    segments = (battles.starts, battles.first, battles.second, battles.outcome)
    fits = (
        len(tiers) == len(checkpoint.models)
        and len({len(s) for s in segments}) == 1
        and len(battles.starts) > 0
        and battles.starts[0] == 0
        and (np.diff(battles.starts) > 0).all()
        and battles.starts[-1] < len(battles.embeddings)
        and ((battles.first >= 0) & (battles.first < battles.second) & (battles.second < battles.n_tiers)).all()
        and ((battles.outcome >= 0) & (battles.outcome <= 1)).all()
        and ("reduction" not in checkpoint.arrays or _reduces(checkpoint, battles))
    )
    if not fits:
        raise CheckpointError(f"checkpoint {checkpoint.path}: tiers and battle segments do not fit together")


def _reduces(checkpoint: Checkpoint, battles: TierBattles) -> bool:
    return bool(checkpoint.array("reduction", ndim=2).shape[1] == battles.embeddings.shape[1])
