"""Training of the kinds that predict every model's score: neighbours, linear rows, and blends of both.

The settings are chosen by cross-validation, and what was predicted for left-out prompts decides how much predictions
count, see `core.evidence`, and how far from the labelled prompts, see `reach`. Where they are worth no more than
the models' own means, the router says so and chooses as if it knew nothing: like a fixed choice of models.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from pointsman.backends.data.score_tables import ScoreTable, check_candidates
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.reach import LeftOut, choose_part, reach, worth
from pointsman.backends.training.score_search import UNKNOWN, ScoreRecipe, Search
from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.errors import DataError
from pointsman.core.evidence import Evidence, shrinkage
from pointsman.core.hull import upper_hull
from pointsman.core.novelty import fit_centroids
from pointsman.core.pair import ModelPair
from pointsman.core.score_models import (
    Coverage,
    column_means,
    ramp,
)
from pointsman.core.similarity import unit_rows

__all__ = ["ScoreRecipe", "Trained", "fit_scores"]

_MIN_PROMPTS = 20
_N_GROUPS = 8  # of similar prompts, to be left out one by one
_MAX_NAMED = 12  # of groups that the table names itself


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A checkpoint with what was predicted for prompts that were left out.

    Attributes:
        checkpoint: not yet calibrated.
        win_rates: of the first candidate over all, from cross-validation, shape (n_prompts, n_candidates).
        usd: expected bills likewise; None where bills are not known.
        note: what a user must know of what the predictions are worth.
    """

    checkpoint: Checkpoint
    win_rates: FloatArray
    usd: FloatArray | None
    note: str


def fit_scores(
    table: ScoreTable, embeddings: PromptEmbeddings, candidates: Sequence[str], recipe: ScoreRecipe
) -> Trained:
    """A checkpoint of all models of a table; its evidence is about the candidates, the first one being the reference.

    Args:
        embeddings: of `table.prompts`, in their order.

    Raises:
        DataError: candidates are fewer than two, unknown, doubled or never scored, there are fewer than 20 prompts, or
            embeddings do not fit.
    """
    check_candidates(table, candidates)
    values = np.asarray(embeddings.values, dtype=np.float32)
    if values.shape[:1] != (len(table),) or not np.isfinite(values).all():
        raise DataError(f"embeddings have shape {values.shape}, wanted {len(table)} finite rows, one per prompt")
    if len(table) < _MIN_PROMPTS:
        raise DataError(
            f"{table.source} has {counted(len(table), 'prompt')}, wanted at least {_MIN_PROMPTS}: add outcomes"
        )
    values = unit_rows(values)
    columns = np.concatenate([table.scores, table.usd, table.output_tokens], axis=1)
    n_models = len(table.models)
    search = Search(values, columns, n_models, recipe)
    settings = search.run(_groups(table, values, recipe.seed))
    counts = shrinkage(search.unseen[:, :n_models], table.scores)
    at = np.array([table.models.index(name) for name in candidates])
    usual = _left_out(search.unseen, search.fold_means, search.distances, at, n_models)
    scores, usd = table.scores[:, at], None if usual.usd is None else table.usd[:, at]
    near, far = reach(usual.distances)
    part = choose_part(usual, counts[at], scores, usd)
    counts *= part
    covered = ramp(usual.distances, near, far)[:, None] * counts[at]
    evidence = worth(usual, covered, scores, usd)
    if not evidence.trusted:
        usual = replace(usual, predicted=usual.means, usd=None if usual.usd is None else usual.mean_usd)
    coverage = Coverage(search.centroids(np.ones(len(table), dtype=bool)), near, far)
    arrays, options = search.final(settings)
    means = column_means(columns)
    note = _note(table, candidates, at, evidence)
    checkpoint = Checkpoint(
        kind=recipe.kind,
        models=table.models,
        pair=ModelPair(candidates[0], candidates[-1]),
        candidates=tuple(candidates),
        embedder=embeddings.identity,
        canaries=embeddings.canaries,
        arrays={
            **arrays,
            "embeddings": values.astype(np.float16),
            "centroids": coverage.centroids.vectors.astype(np.float16),
            "shrinkage": counts.astype(np.float32),
            "scores": _stored(table.scores),
            "usd": _stored(table.usd),
            "input_tokens": _stored(table.input_tokens),
            "output_tokens": _stored(table.output_tokens),
        },
        options={
            **options,
            "trusted": evidence.trusted,
            "covered": coverage.near,
            "not_covered": coverage.far,
            "part": part,
        },
        metrics={
            "n_prompts": len(table),
            "evidence": {**asdict(evidence), "trusted": evidence.trusted, "note": note},
            "models": {
                name: {"score": _json(means[i]), "usd": _json(means[n_models + i])}
                for i, name in enumerate(table.models)
            },
        },
    )
    return Trained(checkpoint, usual.win_rates(covered), usual.usd, note)


def _left_out(
    predicted: FloatArray, means: FloatArray, distances: FloatArray, at: np.ndarray, n_models: int
) -> LeftOut:
    """The predictions for the candidates; without bills if one is unknown."""
    usd, mean_usd = np.maximum(predicted[:, n_models + at], 0.0), means[:, n_models + at]
    priced = bool(np.isfinite(mean_usd).all() and np.isfinite(usd).all())
    return LeftOut(predicted[:, at], usd if priced else None, means[:, at], mean_usd, distances)


def _groups(table: ScoreTable, embeddings: Float32Array, seed: int) -> IntArray:
    """Number of each prompt's group: those that the table names, or groups of similar prompts; shape (n_prompts,)."""
    if table.group is not None:
        names, number = np.unique(table.group, return_inverse=True)
        if 2 < len(names) <= _MAX_NAMED:
            return np.asarray(number.ravel(), dtype=np.int64)
    found = fit_centroids(embeddings, _N_GROUPS, rng=np.random.default_rng(seed))
    return np.asarray(found.cosines(embeddings).argmax(axis=1), dtype=np.int64)


def _note(table: ScoreTable, candidates: Sequence[str], at: np.ndarray, evidence: Evidence) -> str:
    """How good the predictions are, in a sentence or two."""
    figure = (
        f"{100 * evidence.gain:+.2f} ± {164.5 * evidence.error:.2f} points on {evidence.n_prompts:,} left-out prompts"
    )
    if evidence.trusted:
        surely = f"; the scores predicted tell models apart by {evidence.signal:.1f} standard errors"
        return f"choosing by prompt gains {figure} over a fixed choice of models{surely * (not evidence.surely_gains)}"
    scores, usd = column_means(table.scores)[at], column_means(table.usd)[at]
    if not np.isfinite(usd).all():
        return f"no better than a fixed choice of models ({figure}); use {candidates[int(np.argmax(scores))]} alone"
    hull = upper_hull(usd, scores)
    named = [f"{candidates[i]} ({100 * scores[i]:.1f} %, {dollars(usd[i])})" for i in hull.rows]
    which = f"use {named[0]} alone" if len(named) == 1 else f"use these two: {named[-2]} and {named[-1]}"
    rest = f"; cheaper still: {', '.join(named[:-2])}" if len(named) > 2 else ""
    return f"no better than a fixed choice of models ({figure}); {which}{rest}"


def _stored(values: FloatArray) -> np.ndarray:
    return np.nan_to_num(values, nan=UNKNOWN).astype(np.float32)


def _json(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
