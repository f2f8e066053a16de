"""Routers that predict every candidate's score and bill: neighbours, linear rows, and blends of both."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.errors import CheckpointError, EmbedderMismatchError
from pointsman.core.expected_cost import LabelledBill
from pointsman.core.landmarks import Landmarks
from pointsman.core.novelty import Centroids
from pointsman.core.pair import ModelPair
from pointsman.core.router import CandidateMeans, EmbeddingRouter, Reading
from pointsman.core.score_models import (
    Coverage,
    LandmarkRows,
    NeighbourMeans,
    Predictor,
    blend,
    column_means,
    shrunk_win_rates,
)

__all__ = ["BlendRouter", "LinearRouter", "NeighbourScoresRouter", "ScoreRouter", "load", "load_candidates"]

_TABLES = ("scores", "usd", "input_tokens", "output_tokens")


class ScoreRouter(EmbeddingRouter):
    """Win rates from predicted scores, drawn to the candidates' means as far as evidence asks for.

    Without evidence that prompts tell more than the means do, every prompt gets the means: a fixed choice of models.
    """

    kind: ClassVar[str] = "scores"

    def __init__(
        self,
        embed: Embedder,
        predict: Predictor,
        means: Sequence[CandidateMeans],
        shrinkage: FloatArray,
        coverage: Coverage,
    ) -> None:
        """Takes the parts.

        Args:
            predict: columns of scores, dollars and output tokens, N each, NaN where nothing is known.
            means: of each candidate, the reference first.
            shrinkage: of each candidate's scores, in [0, 1]; zeros for a router that steps aside.
            coverage: of prompts by the labelled ones.
        """
        super().__init__(embed)
        self.means = tuple(means)
        self._predict, self._shrinkage, self._coverage = predict, shrinkage, coverage
        self._scores = np.array([mean.score for mean in means])
        self._usd = np.array([np.nan if mean.usd is None else mean.usd for mean in means])
        self._tokens = np.array([np.nan if mean.output_tokens is None else mean.output_tokens for mean in means])
        self._aside = not shrinkage.any()

    @property
    def blocking(self) -> bool:
        return True

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        return self.score_and_bill(embeddings)[0]

    def score_and_bill(self, embeddings: AnyFloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Win rates, expected dollars and output tokens, shape (n_prompts, n_candidates) each; NaN where not known."""
        n = len(self._scores)
        if self._aside:
            rates = shrunk_win_rates(self._scores[None], self._scores, self._shrinkage)[0]
            fixed = [np.tile(row, (len(embeddings), 1)) for row in (rates, self._usd, self._tokens)]
            return fixed[0], fixed[1], fixed[2]
        found = self._predict(embeddings)
        counts = self._coverage(embeddings)[:, None] * self._shrinkage
        rates = shrunk_win_rates(found[:, :n], self._scores, counts)
        return rates, np.maximum(found[:, n : 2 * n], 0.0), np.maximum(found[:, 2 * n :], 0.0)

    def reading(self, embedding: Float32Array) -> Reading:
        rates, usd, tokens = (values[0].tolist() for values in self.score_and_bill(embedding[None, :]))
        bills = [LabelledBill(_known(bill), _known(length)) for bill, length in zip(usd, tokens, strict=True)]
        return Reading.of(rates, embedding=embedding, bills=tuple(bills))


class NeighbourScoresRouter(ScoreRouter):
    """From the nearest labelled prompts."""

    kind: ClassVar[str] = "knn"


class LinearRouter(ScoreRouter):
    """From one row of coefficients per model."""

    kind: ClassVar[str] = "linear"

    @property
    def blocking(self) -> bool:
        return self.embed.blocking


class BlendRouter(ScoreRouter):
    """From both."""

    kind: ClassVar[str] = "blend"


class _PairOfScores(EmbeddingRouter):
    """Strong over weak alone, from a router of two candidates."""

    kind: ClassVar[str] = "scores"

    def __init__(self, scores: ScoreRouter) -> None:
        super().__init__(scores.embed)
        self._scores = scores

    @property
    def blocking(self) -> bool:
        return self._scores.blocking

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        return self._scores.score(embeddings)[:, 1]


_CLASSES: dict[str, type[ScoreRouter]] = {c.kind: c for c in (NeighbourScoresRouter, LinearRouter, BlendRouter)}


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> EmbeddingRouter:
    """The router of a pair of a checkpoint's models: win rates of strong over weak, shape (n_prompts,)."""
    return _PairOfScores(load_candidates(checkpoint, embed, (pair.strong, pair.weak)))


def load_candidates(checkpoint: Checkpoint, embed: Embedder | None, candidates: Sequence[str]) -> ScoreRouter:
    """The router of some of a checkpoint's models, the reference first.

    Raises:
        CheckpointError: a candidate is unknown or was never scored, or an array is missing or does not fit.
    """
    if embed is None:
        raise EmbedderMismatchError(f"checkpoint {checkpoint.path} of kind {checkpoint.kind!r} needs an embedder")
    rows = [checkpoint.row(name) for name in candidates]
    tables = {name: _table(checkpoint, name)[:, rows] for name in _TABLES}
    means = {name: column_means(values) for name, values in tables.items()}
    for name, score in zip(candidates, means["scores"], strict=True):
        if np.isnan(score):
            raise CheckpointError(
                f"checkpoint {checkpoint.path} has no score of {name!r}: leave it out, or add outcomes"
            )
    shrinkage = checkpoint.array("shrinkage", ndim=1)[rows].astype(np.float64)
    try:
        trusted = bool(checkpoint.options["trusted"])
        near, far = (float(checkpoint.options[name]) for name in ("covered", "not_covered"))
        coverage = Coverage(Centroids(checkpoint.array("centroids", ndim=2)), near, far)
        predict = _predictor(checkpoint, rows, [tables[name] for name in ("scores", "usd", "output_tokens")])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.path}: an option or array is malformed: {error!r}") from error
    found = [
        CandidateMeans(float(means["scores"][i]), *(_known(means[n][i]) for n in _TABLES[1:])) for i in range(len(rows))
    ]
    return _CLASSES[checkpoint.kind](embed, predict, found, shrinkage * trusted, coverage)


def _predictor(checkpoint: Checkpoint, rows: Sequence[int], tables: Sequence[FloatArray]) -> Predictor:
    options, weight = checkpoint.options, float(checkpoint.options["weight"])
    near: Predictor | None = None
    linear: Predictor | None = None
    if weight < 1.0:
        embeddings = checkpoint.array("embeddings", ndim=2)
        k, temperature, prior = int(options["k"]), float(options["temperature"]), float(options["prior"])
        full = options.get("full")  # older checkpoints have none
        columns = np.concatenate(tables, axis=1)
        near = NeighbourMeans(embeddings, columns, k=k, temperature=temperature, prior=prior, full=full)
    if weight > 0.0:
        landmarks = Landmarks(checkpoint.array("landmarks", ndim=2), float(options["membership_temperature"]))
        n_models = len(checkpoint.models)
        at = np.concatenate([np.asarray(rows) + i * n_models for i in range(len(tables))])
        constants = checkpoint.array("constants", ndim=1).astype(np.float64)[at]
        coefficients = checkpoint.array("coefficients", ndim=2).astype(np.float64)[at]
        never = np.concatenate([np.isnan(column_means(table)) for table in tables])
        linear = LandmarkRows(landmarks, coefficients, np.where(never, np.nan, constants))
    if near is None or linear is None:
        return near or linear or _nothing
    return blend(linear, near, weight)


def _nothing(embeddings: AnyFloatArray) -> FloatArray:
    raise AssertionError("a weight is below 1 or above 0")


def _table(checkpoint: Checkpoint, name: str) -> FloatArray:
    """One of the stored tables, NaN where a value is not known."""
    values = checkpoint.array(name, ndim=2).astype(np.float64)
    if values.shape[1] != len(checkpoint.models):
        raise CheckpointError(
            f"checkpoint {checkpoint.path}: {name} has {values.shape[1]} columns for {len(checkpoint.models)} models"
        )
    return np.where(values < 0.0, np.nan, values)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
