"""Training of the kinds that predict every model's score: neighbours, linear rows, and blends of both.

The settings are chosen by cross-validation, and what was predicted for left-out prompts decides how far predictions
count at all, see `core.evidence`. Where they are worth no more than the models' own means, the router says so and
chooses as if it knew nothing: like a fixed choice of models.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pointsman.backends.data.score_tables import ScoreTable, check_candidates
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import DataError
from pointsman.core.evidence import Evidence, gain_over_fixed, shrinkage
from pointsman.core.hull import upper_hull
from pointsman.core.landmarks import Landmarks
from pointsman.core.novelty import Centroids, fit_centroids
from pointsman.core.pair import ModelPair
from pointsman.core.score_models import (
    Coverage,
    LandmarkRows,
    NeighbourMeans,
    Predictor,
    column_means,
    fit_rows,
    shrunk_win_rates,
)
from pointsman.core.similarity import unit_rows

__all__ = ["ScoreRecipe", "Trained", "fit_scores"]

_MIN_PROMPTS = 20
_TEMPERATURE = 0.05  # of memberships
_PENALTIES = np.array([5.0, 20.0, 40.0, 100.0, 400.0])
_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_UNKNOWN = -1.0
_COVERED = (0.25, 0.9)  # quantiles of left-out distances: up to which, and from which no more, a prompt is covered
_LEAST = (0.1, 0.25)  # and at least so far: labelled prompts that are all alike cover those that are nearly so


@dataclass(frozen=True, slots=True)
class ScoreRecipe:
    """Settings; those that are tuples are chosen from by cross-validation.

    Attributes:
        kind: "knn", "linear" or "blend".
        ks: neighbours that count.
        temperature: of their weights.
        prior: perfectly similar prompts that a model's mean counts as.
        n_landmarks: of linear rows; at most an eighth of the prompts.
        n_folds: of the cross-validation.
        seed: of folds and landmarks.
    """

    kind: str = "blend"
    ks: tuple[int, ...] = (50, 100, 200)
    temperature: float = 0.1
    prior: float = 5.0
    n_landmarks: tuple[int, ...] = (64,)
    n_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("knn", "linear", "blend"):
            raise ValueError(f"kind is {self.kind!r}, wanted knn, linear or blend")
        if self.n_folds < 2 or min((*self.ks, *self.n_landmarks), default=0) < 1:
            raise ValueError(f"{self}: wanted at least 2 folds, and positive numbers of neighbours and landmarks")


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
        raise DataError(f"{table.source} has {len(table)} prompts, wanted at least {_MIN_PROMPTS}: add outcomes")
    values = unit_rows(values)
    columns = np.concatenate([table.scores, table.usd, table.output_tokens], axis=1)
    n_models = len(table.models)
    search = _Search(values, columns, n_models, recipe)
    unseen, fold_means, settings = search.run()
    coverage = search.coverage()
    counts = shrinkage(unseen[:, :n_models], table.scores)
    at = np.array([table.models.index(name) for name in candidates])
    evidence, win_rates, usd = _evidence(table, unseen, fold_means, counts * search.covered[:, None], at)
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
        options={**options, "trusted": evidence.trusted, "covered": coverage.near, "not_covered": coverage.far},
        metrics={
            "n_prompts": len(table),
            "evidence": {**asdict(evidence), "trusted": evidence.trusted, "note": note},
            "models": {
                name: {"score": _json(means[i]), "usd": _json(means[n_models + i])}
                for i, name in enumerate(table.models)
            },
        },
    )
    return Trained(checkpoint, win_rates, usd, note)


def _evidence(
    table: ScoreTable, unseen: FloatArray, fold_means: FloatArray, counts: FloatArray, at: np.ndarray
) -> tuple[Evidence, FloatArray, FloatArray | None]:
    """What the candidates' predictions are worth, and win rates and bills as they will be served."""
    n_models = len(table.models)
    predicted, expected = unseen[:, at], np.maximum(unseen[:, n_models + at], 0.0)
    means, mean_usd = fold_means[:, at], fold_means[:, n_models + at]
    priced = bool(np.isfinite(mean_usd).all() and np.isfinite(expected).all())
    win_rates = shrunk_win_rates(predicted, means, counts[:, at])
    scores, usd = table.scores[:, at], table.usd[:, at] if priced else None
    evidence = gain_over_fixed(win_rates, expected if priced else None, scores, usd, (means, mean_usd))
    if not evidence.trusted:
        win_rates, expected = shrunk_win_rates(means, means, counts[:, at]), mean_usd
    return evidence, win_rates, expected if priced else None


class _Search:
    """Cross-validation over the settings of a recipe, all columns of the table at once."""

    def __init__(self, embeddings: Float32Array, columns: FloatArray, n_models: int, recipe: ScoreRecipe) -> None:
        self._embeddings, self._columns, self._n_models, self._recipe = embeddings, columns, n_models, recipe
        rng = np.random.default_rng(recipe.seed)
        self._fold = rng.permutation(len(columns)) % recipe.n_folds
        self._distances = np.zeros(len(columns))
        self.covered = np.ones(len(columns))

    def run(self) -> tuple[FloatArray, FloatArray, dict[str, Any]]:
        """What the best settings predict of left-out prompts, the means of the others, and these settings."""
        kind = self._recipe.kind
        unseen: dict[tuple[Any, ...], FloatArray] = {}
        fold_means = np.empty_like(self._columns)
        for fold in range(self._recipe.n_folds):
            held = self._fold == fold
            fold_means[held] = column_means(self._columns[~held])
            self._distances[held] = self._centroids(~held).distances(self._embeddings[held])
            for name, predict in self._models(~held):
                unseen.setdefault(name, np.empty_like(self._columns))[held] = predict(self._embeddings[held])
        best: dict[str, tuple[Any, ...]] = {}
        for family in {name[0] for name in unseen}:
            names = sorted(name for name in unseen if name[0] == family)
            best[family] = min(names, key=lambda name: self._loss(unseen[name]))
        if kind != "blend":
            only = best[kind]
            return unseen[only], fold_means, {kind: only[1:]}
        linear, near = unseen[best["linear"]], unseen[best["knn"]]
        weight = min(_WEIGHTS, key=lambda w: self._loss(w * linear + (1.0 - w) * near))
        settings = {family: name[1:] for family, name in best.items()}
        return weight * linear + (1.0 - weight) * near, fold_means, {**settings, "weight": weight}

    def coverage(self) -> Coverage:
        """How far prompts are covered, by the distances of left-out ones; fills in `covered` for these."""
        quantiles = np.quantile(self._distances, _COVERED)
        near, far = (max(float(q), least) for q, least in zip(quantiles, _LEAST, strict=True))
        found = Coverage(self._centroids(np.ones(len(self._fold), dtype=bool)), near, far)
        self.covered = np.clip((found.far - self._distances) / (found.far - found.near), 0.0, 1.0)
        return found

    def _centroids(self, rows: np.ndarray) -> Centroids:
        n = min(max(self._recipe.n_landmarks), max(1, int(rows.sum()) // 8))
        rng = np.random.default_rng(self._recipe.seed)
        vectors = fit_centroids(self._embeddings[rows], n, rng=rng).vectors.astype(np.float16)
        return Centroids(vectors.astype(np.float32))

    def final(self, settings: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and options of a checkpoint, fitted on all prompts."""
        arrays: dict[str, np.ndarray] = {}
        options: dict[str, Any] = {"weight": settings.get("weight", float("linear" in settings))}
        if "knn" in settings:
            options |= {
                "k": settings["knn"][0],
                "temperature": self._recipe.temperature,
                "prior": self._recipe.prior,
            }
        if "linear" in settings:
            n_landmarks, penalty = settings["linear"]
            (rows,) = self._rows(np.ones(len(self._columns), dtype=bool), n_landmarks, np.array([penalty]))
            arrays |= {
                "landmarks": rows.landmarks.vectors,
                "coefficients": rows.coefficients.astype(np.float32),
                "constants": np.nan_to_num(rows.constants, nan=_UNKNOWN).astype(np.float32),
            }
            options |= {"membership_temperature": _TEMPERATURE, "n_landmarks": n_landmarks, "penalty": penalty}
        return arrays, options

    def _models(self, rows: np.ndarray) -> list[tuple[tuple[Any, ...], Predictor]]:
        recipe, found = self._recipe, []
        if recipe.kind in ("knn", "blend"):
            for k in recipe.ks:
                near = NeighbourMeans(
                    self._embeddings[rows],
                    self._columns[rows],
                    k=k,
                    temperature=recipe.temperature,
                    prior=recipe.prior,
                )
                found.append((("knn", k), near))
        if recipe.kind in ("linear", "blend"):
            for n in recipe.n_landmarks:
                fitted = self._rows(rows, n, _PENALTIES)
                found += [(("linear", n, float(p)), row) for p, row in zip(_PENALTIES, fitted, strict=True)]
        return found

    def _rows(self, rows: np.ndarray, n_landmarks: int, penalties: FloatArray) -> list[LandmarkRows]:
        n = min(n_landmarks, max(1, int(rows.sum()) // 8))
        rng = np.random.default_rng(self._recipe.seed)
        vectors = fit_centroids(self._embeddings[rows], n, rng=rng).vectors.astype(np.float16).astype(np.float32)
        return fit_rows(
            Landmarks(vectors, _TEMPERATURE), self._embeddings[rows], self._columns[rows], penalties=penalties
        )

    def _loss(self, predicted: FloatArray) -> float:
        """Mean squared error of scores less their mean over a prompt's models: only differences decide."""
        scores = self._columns[:, : self._n_models]
        error = scores - predicted[:, : self._n_models]
        known = np.isfinite(error)
        filled = np.where(known, error, 0.0)
        n = np.maximum(known.sum(axis=1, keepdims=True), 1)
        return float(np.where(known, filled - filled.sum(axis=1, keepdims=True) / n, 0.0).var())


def _note(table: ScoreTable, candidates: Sequence[str], at: np.ndarray, evidence: Evidence) -> str:
    """What the predictions are worth, in a sentence or two."""
    figure = (
        f"{100 * evidence.gain:+.2f} ± {164.5 * evidence.error:.2f} points on {evidence.n_prompts:,} left-out prompts"
    )
    if evidence.trusted:
        return f"choosing by prompt gains {figure} over a fixed choice of models"
    scores, usd = column_means(table.scores)[at], column_means(table.usd)[at]
    if not np.isfinite(usd).all():
        return f"no better than a fixed choice of models ({figure}); use {candidates[int(np.argmax(scores))]} alone"
    hull = upper_hull(usd, scores)
    named = [f"{candidates[i]} ({100 * scores[i]:.1f} %, ${usd[i]:.4g})" for i in hull.rows]
    which = f"use {named[0]} alone" if len(named) == 1 else f"use these two: {named[-2]} and {named[-1]}"
    rest = f"; cheaper still: {', '.join(named[:-2])}" if len(named) > 2 else ""
    return f"no better than a fixed choice of models ({figure}); {which}{rest}"


def _stored(values: FloatArray) -> np.ndarray:
    return np.nan_to_num(values, nan=_UNKNOWN).astype(np.float32)


def _json(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
