"""Training of the similarity-weighted ranking: rating the models, tiers, and battles folded between them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.backends.training.connectivity import check_field
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.examples import Examples
from pointsman.core.arrays import Float32Array
from pointsman.core.battles import win_table
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import DataError, FitError
from pointsman.core.pair import ModelPair
from pointsman.core.ratings import elo, fit_ratings
from pointsman.core.routers.sw_ranking import fold_battles, score_queries
from pointsman.core.similarity import unit_rows
from pointsman.core.tiers import assign_tiers

__all__ = ["SWRecipe", "fit_sw_ranking"]

_ERROR_SAMPLE = 256


@dataclass(frozen=True, slots=True)
class SWRecipe:
    """Settings of a similarity-weighted ranking.

    Attributes:
        n_tiers: groups of models of similar rating.
        dim: reduce embeddings to this many dimensions, by the singular vectors that keep most of their inner products;
            None keeps them as they are.
        seed: of the prompts on which the error of the reduction is measured.
    """

    n_tiers: int = 10
    dim: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tiers < 2 or (self.dim is not None and self.dim < 1):
            raise ValueError(f"n_tiers is {self.n_tiers}, dim {self.dim}: wanted n_tiers >= 2, dim >= 1 or None")


def fit_sw_ranking(examples: Examples, embeddings: PromptEmbeddings, pair: ModelPair, recipe: SWRecipe) -> Checkpoint:
    """An `sw_ranking` checkpoint. Its metrics state what a reduction of the dimension costs in win rate.

    Args:
        examples: battles of weight 1, ties included.
        embeddings: those of the examples, with their embedder.

    Raises:
        DataError: the pair never met, or all battles are ties.
        FitError: both models of the pair are in one tier, or no battle is between tiers.
    """
    battle_set = examples.battle_set
    notes = check_field(battle_set, pair)
    ratings = fit_ratings(win_table(battle_set.battles)).ratings
    tiers = assign_tiers(ratings, recipe.n_tiers)
    models = battle_set.battles.models
    strong, weak = (int(tiers[models.index(name)]) for name in (pair.strong, pair.weak))
    if strong == weak:
        both = f"{pair.strong!r} and {pair.weak!r}"
        raise FitError(f"{both} are both in tier {strong} of {recipe.n_tiers}: use more tiers")
    full = fold_battles(battle_set.battles, examples.embeddings[battle_set.prompt], tiers)
    arrays: dict[str, np.ndarray] = {
        "tiers": tiers.astype(np.int32),
        "segment_starts": full.starts,
        "segment_first": full.first,
        "segment_second": full.second,
        "segment_outcome": full.outcome,
        "embeddings": full.embeddings,
    }
    metrics: dict[str, Any] = {
        "n_battles_between_tiers": len(full.embeddings),
        "n_battles_inside_a_tier": len(battle_set) - len(full.embeddings),
        "elo": {name: round(float(points), 1) for name, points in zip(models, elo(ratings), strict=True)},
        "notes": notes,
    }
    if recipe.dim is not None:
        reduction = _principal_directions(examples.embeddings, recipe.dim)
        reduced = full.reduced(reduction)
        arrays |= {"embeddings": reduced.embeddings, "reduction": reduction}
        sample = _sample(examples.embeddings, recipe.seed)
        exact = score_queries(full, sample, strong, weak)
        gap = np.abs(exact - score_queries(reduced, sample @ reduction, strong, weak))
        metrics["reduction_error"] = {"n_prompts": len(sample), "mean": float(gap.mean()), "max": float(gap.max())}
    return Checkpoint(
        kind="sw_ranking",
        models=models,
        pair=pair,
        embedder=embeddings.identity,
        canaries=embeddings.canaries,
        arrays=arrays,
        metrics=metrics,
    )


def _principal_directions(embeddings: Float32Array, dim: int) -> Float32Array:
    """The `dim` directions that keep most of the inner products of unit embeddings, float32, shape (full_dim, dim)."""
    full_dim = embeddings.shape[1]
    if dim > full_dim:
        raise DataError(f"dim is {dim}, wanted at most {full_dim}, the dimension of the embeddings")
    unit = unit_rows(embeddings)
    _, vectors = np.linalg.eigh((unit.T @ unit).astype(np.float64))
    return np.ascontiguousarray(vectors[:, ::-1][:, :dim], dtype=np.float32)


def _sample(embeddings: Float32Array, seed: int) -> Float32Array:
    rows = np.random.default_rng(seed).permutation(len(embeddings))[:_ERROR_SAMPLE]
    return unit_rows(embeddings[np.sort(rows)])
