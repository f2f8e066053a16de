"""The settings of predictors of scores, chosen by cross-validation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.landmarks import Landmarks
from pointsman.core.novelty import Centroids, fit_centroids
from pointsman.core.score_models import (
    LandmarkRows,
    NeighbourMeans,
    Predictor,
    column_means,
    fit_rows,
    usual_cosine,
)

__all__ = ["UNKNOWN", "ScoreRecipe", "Search"]

UNKNOWN = -1.0  # stands in stored tables for what is not known
_PENALTIES = (5.0, 20.0, 40.0, 100.0, 400.0)
_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class ScoreRecipe:
    """Settings; those that are tuples are chosen from by cross-validation: of those that are about as good as the best
    the one that smooths most, most neighbours or the highest penalty.

    Attributes:
        kind: "knn", "linear" or "blend".
        ks: neighbours that count.
        temperature: of their weights.
        prior: prompts as similar as usual that a model's mean counts as.
        n_landmarks: of linear rows; at most an eighth of the prompts.
        sharpness: temperatures of memberships.
        n_folds: of the cross-validation.
        seed: of folds and landmarks.
    """

    kind: str = "blend"
    ks: tuple[int, ...] = (50, 100, 200)
    temperature: float = 0.05
    prior: float = 5.0
    n_landmarks: tuple[int, ...] = (64,)
    sharpness: tuple[float, ...] = (0.03, 0.05)
    n_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("knn", "linear", "blend"):
            raise ValueError(f"kind is {self.kind!r}, wanted knn, linear or blend")
        if self.n_folds < 2 or min((*self.ks, *self.n_landmarks), default=0) < 1 or not self.sharpness:
            raise ValueError(f"{self}: wanted at least 2 folds, and positive numbers of neighbours and landmarks")


class Search:
    """Cross-validation over the settings of a recipe, all columns of the table at once.

    Attributes:
        unseen: what the best settings predict of left-out prompts, shape (n_prompts, n_columns).
        fold_means: means of the others, same shape.
        distances: to the others, shape (n_prompts,).
    """

    def __init__(self, embeddings: Float32Array, columns: FloatArray, n_models: int, recipe: ScoreRecipe) -> None:
        self._embeddings, self._columns, self._n_models, self._recipe = embeddings, columns, n_models, recipe
        rng = np.random.default_rng(recipe.seed)
        self._fold = rng.permutation(len(columns)) % recipe.n_folds
        self.distances = np.zeros(len(columns))
        self.unseen = self.fold_means = np.empty_like(columns)
        self._found: dict[tuple[bytes, int], Float32Array] = {}

    def run(self, group: IntArray) -> dict[str, Any]:
        """Finds the best settings; a blend's weight also counts groups of prompts that are left out."""
        names = self._names()
        unseen, self.fold_means, self.distances = self._predict(self._fold, names)
        best: dict[str, tuple[Any, ...]] = {}
        for family in {name[0] for name in names}:
            best[family] = self._plainest({name: unseen[name] for name in names if name[0] == family})
        settings: dict[str, Any] = {family: name[1:] for family, name in best.items()}
        usual = {family: unseen[name] for family, name in best.items()}
        if self._recipe.kind == "blend":
            by_group, _, _ = self._predict(group, list(best.values()))
            grouped = {family: by_group[name] for family, name in best.items()}
            settings["weight"] = min(
                _WEIGHTS,
                key=lambda w: sum(self._losses(_blended(part, {"weight": w})).mean() for part in (usual, grouped)),
            )
        self.unseen = _blended(usual, settings)
        return settings

    def centroids(self, rows: np.ndarray) -> Centroids:
        """Of some of the prompts, as they are stored."""
        return Centroids(self._directions(rows, max(self._recipe.n_landmarks)))

    def _names(self) -> list[tuple[Any, ...]]:
        """The settings to choose from, each after its family."""
        recipe, found = self._recipe, []
        if recipe.kind in ("knn", "blend"):
            found += [("knn", k) for k in recipe.ks]
        if recipe.kind in ("linear", "blend"):
            found += [
                ("linear", n, temperature, penalty)
                for n in recipe.n_landmarks
                for temperature in recipe.sharpness
                for penalty in _PENALTIES
            ]
        return found

    def _predict(
        self, fold: IntArray, names: Sequence[tuple[Any, ...]]
    ) -> tuple[dict[tuple[Any, ...], FloatArray], FloatArray, FloatArray]:
        """Each setting's predictions of every fold from the others, the means of the others, and the distances."""
        unseen = {name: np.empty_like(self._columns) for name in names}
        means, distances = np.empty_like(self._columns), np.empty(len(fold))
        for number in np.unique(fold):
            held = fold == number
            others = ~held if not held.all() else held  # of one group there is nothing to learn otherwise
            means[held] = column_means(self._columns[others])
            distances[held] = self.centroids(others).distances(self._embeddings[held])
            for name, predict in self._models(others, names):
                unseen[name][held] = predict(self._embeddings[held])
        return unseen, means, distances

    def _directions(self, rows: np.ndarray, n_landmarks: int) -> Float32Array:
        """Centroids of some of the prompts; those of the last ones asked for are kept."""
        n = min(n_landmarks, max(1, int(rows.sum()) // 8))
        key = rows.tobytes(), n
        if key not in self._found:
            if any(kept[0] != key[0] for kept in self._found):
                self._found.clear()
            found = fit_centroids(self._embeddings[rows], n, rng=np.random.default_rng(self._recipe.seed))
            self._found[key] = found.vectors.astype(np.float16).astype(np.float32)
        return self._found[key]

    def final(self, settings: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and options of a checkpoint, fitted on all prompts."""
        recipe, whole = self._recipe, np.ones(len(self._columns), dtype=bool)
        arrays: dict[str, np.ndarray] = {}
        options: dict[str, Any] = {"weight": settings.get("weight", float("linear" in settings))}
        if "knn" in settings:
            options |= {"k": settings["knn"][0], "temperature": recipe.temperature, "prior": recipe.prior}
            options["full"] = self._full(whole)
        if "linear" in settings:
            n_landmarks, temperature, penalty = settings["linear"]
            (rows,) = self._rows(whole, n_landmarks, temperature, np.array([penalty]))
            arrays |= {
                "landmarks": rows.landmarks.vectors,
                "coefficients": rows.coefficients.astype(np.float32),
                "constants": np.nan_to_num(rows.constants, nan=UNKNOWN).astype(np.float32),
            }
            options |= {"membership_temperature": temperature, "n_landmarks": n_landmarks, "penalty": penalty}
        return arrays, options

    def _models(
        self, rows: np.ndarray, names: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[tuple[Any, ...], Predictor]]:
        """The predictors of these settings, learnt from some of the prompts."""
        recipe = self._recipe
        full = self._full(rows) if any(name[0] == "knn" for name in names) else None
        for name in names:
            if name[0] == "knn":
                yield (
                    name,
                    NeighbourMeans(
                        self._embeddings[rows],
                        self._columns[rows],
                        k=name[1],
                        temperature=recipe.temperature,
                        prior=recipe.prior,
                        full=full,
                    ),
                )
        for start in dict.fromkeys(name[:3] for name in names if name[0] == "linear"):
            penalties = [name[3] for name in names if name[:3] == start]
            fitted = self._rows(rows, start[1], start[2], np.array(penalties))
            yield from (((*start, penalty), row) for penalty, row in zip(penalties, fitted, strict=True))

    def _full(self, rows: np.ndarray) -> float:
        return usual_cosine(self._embeddings[rows], rng=np.random.default_rng(self._recipe.seed))

    def _rows(
        self, rows: np.ndarray, n_landmarks: int, temperature: float, penalties: FloatArray
    ) -> list[LandmarkRows]:
        landmarks = Landmarks(self._directions(rows, n_landmarks), temperature)
        return fit_rows(landmarks, self._embeddings[rows], self._columns[rows], penalties=penalties)

    def _plainest(self, unseen: dict[tuple[Any, ...], FloatArray]) -> tuple[Any, ...]:
        """The settings that smooth most among those whose loss is within a standard error of the least."""
        losses = {name: self._losses(predicted) for name, predicted in unseen.items()}
        least = min(losses.values(), key=lambda loss: float(loss.mean()))

        def is_close(loss: FloatArray) -> bool:
            more = loss - least
            return bool(more.mean() <= more.std() / np.sqrt(len(more)))

        close = {name: loss for name, loss in losses.items() if is_close(loss)}
        return max(close, key=lambda name: (name[-1], -float(close[name].mean())))

    def _losses(self, predicted: FloatArray) -> FloatArray:
        """Each prompt's squared errors of scores less their mean over its models: only differences decide."""
        scores = self._columns[:, : self._n_models]
        error = scores - predicted[:, : self._n_models]
        known = np.isfinite(error)
        filled = np.where(known, error, 0.0)
        n = np.maximum(known.sum(axis=1, keepdims=True), 1)
        return np.asarray((np.where(known, filled - filled.sum(axis=1, keepdims=True) / n, 0.0) ** 2).mean(axis=1))


def _blended(predicted: dict[str, FloatArray], settings: dict[str, Any]) -> FloatArray:
    if len(predicted) == 1:
        return next(iter(predicted.values()))
    weight = settings["weight"]
    return np.asarray(weight * predicted["linear"] + (1.0 - weight) * predicted["knn"])
