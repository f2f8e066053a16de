"""A further model for a checkpoint of scores, from its answers to some landmark prompts alone.

    landmarks   the prompt nearest to each centroid of spherical k-means over the checkpoint's prompts, or over traffic
    column      ridge over the other models' scores on the same prompt and its embedding, fitted on the landmarks; its
                penalty and the weight of the embedding by leave-one-out error; what was measured stays as it is

So the model gets a score on every prompt of the checkpoint, and a mean that allows for how hard the landmarks are.
Bills and tokens are estimated likewise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pointsman.backends.export import RecordedEmbedder
from pointsman.core.arrays import AnyFloatArray, FloatArray, IntArray
from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.choice_rows import turning_points
from pointsman.core.counted import counted
from pointsman.core.errors import CheckpointError, DataError
from pointsman.core.evidence import shrinkage
from pointsman.core.hull import point_usd
from pointsman.core.landmarks import Landmarks
from pointsman.core.novelty import fit_centroids
from pointsman.core.pair import ModelPair
from pointsman.core.routers.scores import ScoreRouter, load_candidates
from pointsman.core.score_models import column_means, fit_rows
from pointsman.core.similarity import unit_rows

__all__ = ["Measured", "add_model", "check_kind", "choose_landmarks", "estimate_column", "remove_model"]

_TABLES = ("scores", "usd", "input_tokens", "output_tokens")
_PENALTIES = np.geomspace(1e-3, 1e4, 22)
_SUBJECT_WEIGHTS = (0.0, 1.0)  # of what prompts are about, beside what the other models did on them
_MIN_LANDMARKS = 30
_N_FOLDS = 5
_UNKNOWN = -1.0
_MAX_CALIBRATION = 5000


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A model's results on some rows of a checkpoint's tables; NaN where unknown, each of shape (n_rows,).

    Attributes:
        rows: of the tables, distinct.
        scores: in [0, 1].
        usd, input_tokens, output_tokens: of its answers.
    """

    rows: IntArray
    scores: FloatArray
    usd: FloatArray
    input_tokens: FloatArray
    output_tokens: FloatArray


def choose_landmarks(
    embeddings: AnyFloatArray,
    able: np.ndarray,
    n_landmarks: int,
    *,
    traffic: AnyFloatArray | None = None,
    seed: int = 0,
) -> IntArray:
    """Rows of prompts that stand for all of them, or for traffic, sorted; at most `n_landmarks`.

    Args:
        embeddings: of the checkpoint's prompts, shape (n_prompts, dim).
        able: which of them may be asked, shape (n_prompts,).
        traffic: embeddings of other prompts to stand for, shape (n, dim).
    """
    rows = np.flatnonzero(able)
    unit = unit_rows(np.asarray(embeddings, dtype=np.float32)[rows])
    if len(rows) <= n_landmarks:
        return rows
    found = fit_centroids(unit if traffic is None else traffic, n_landmarks, rng=np.random.default_rng(seed))
    taken = np.zeros(len(rows), dtype=bool)
    for cosines in found.vectors @ unit.T:
        taken[np.where(taken, -np.inf, cosines).argmax()] = True
    return np.asarray(rows[taken])


def estimate_column(
    others: FloatArray, embeddings: AnyFloatArray, rows: IntArray, values: FloatArray
) -> tuple[FloatArray, float]:
    """A column on all prompts from some of its values, shape (n_prompts,), and the standard error of its mean.

    Both are NaN if none is known.

    Args:
        others: the other columns, shape (n_prompts, n_columns), NaN where not known.
        embeddings: of the prompts, shape (n_prompts, dim).
        rows, values: where it is known, shape (n_known,) each.
    """
    known = np.isfinite(values)
    rows, y = rows[known], values[known]
    if not len(y):
        return np.full(len(others), np.nan), np.nan
    found, least = np.full(len(others), y.mean()), float(y.var(ddof=1)) if len(y) > 1 else np.inf
    columns, subject = _scaled(others, rows), _scaled(np.asarray(embeddings, dtype=np.float64), rows)
    for weight in _SUBJECT_WEIGHTS if len(y) >= _MIN_LANDMARKS // 2 else ():
        x = np.concatenate([columns, weight * subject], axis=1)
        predicted, error = _ridge(x, rows, y)
        if error < least:
            found, least = predicted, error
    found = np.clip(found, min(0.0, float(y.min())), float(y.max()))
    found[rows] = y
    return np.asarray(found), float(np.sqrt(least / len(y)))


def _scaled(columns: FloatArray, rows: IntArray) -> FloatArray:
    """Columns less their means, an unknown value being the mean, of mean square 1 in all over some rows."""
    means = column_means(columns)
    x = columns[:, np.isfinite(means)] - means[np.isfinite(means)]
    x = np.where(np.isfinite(x), x, 0.0)
    size = float(np.sqrt((x[rows] ** 2).sum(axis=1).mean()))
    return np.asarray(x / size) if size > 1e-12 else np.zeros((len(columns), 0))


def _ridge(x: FloatArray, rows: IntArray, y: FloatArray) -> tuple[FloatArray, float]:
    """Predictions for all rows of x from some, at the penalty of least leave-one-out error, and that error."""
    centre, mean = x[rows].mean(axis=0), y.mean()
    u, s, vt = np.linalg.svd(x[rows] - centre, full_matrices=False)
    target = u.T @ (y - mean)
    kept = s[None, :] ** 2 / (s[None, :] ** 2 + _PENALTIES[:, None])
    leverage = 1.0 / len(y) + (u**2) @ kept.T
    residual = (y - mean)[:, None] - u @ (kept * target).T
    errors = ((residual / np.maximum(1.0 - leverage, 1e-6)) ** 2).mean(axis=0)
    best = int(errors.argmin())
    slope = vt.T @ (s / (s**2 + _PENALTIES[best]) * target)
    return np.asarray(mean + (x - centre) @ slope), float(errors[best])


def add_model(checkpoint: Checkpoint, name: str, measured: Measured) -> Checkpoint:
    """The checkpoint with one model more among its models and candidates; the other models' columns are as before.

    Raises:
        CheckpointError: it is of another kind, or knows the model.
        DataError: fewer than 30 landmarks have scores, or one leaves [0, 1].
    """
    check_kind(checkpoint)
    if name in checkpoint.models:
        raise CheckpointError(f"checkpoint {checkpoint.path} knows model {name!r} already: remove it first, --remove")
    known = np.isfinite(measured.scores)
    if known.sum() < _MIN_LANDMARKS:
        raise DataError(f"{int(known.sum())} landmarks have a score of {name!r}, wanted at least {_MIN_LANDMARKS}")
    if not ((measured.scores[known] >= 0.0) & (measured.scores[known] <= 1.0)).all():
        raise DataError(f"a score of {name!r} leaves [0, 1]: scale scores to that")
    made = _with_column(checkpoint, name, measured)
    counts = checkpoint.array("shrinkage", ndim=1)
    added = _shrinkage_of(checkpoint, name, measured)
    arrays = {**made.arrays, "shrinkage": np.append(counts, np.float32(added)).astype(np.float32)}
    told = {**checkpoint.provenance.get("onboarded", {}), name: {"n_landmarks": int(known.sum())}}
    made = replace(
        made,
        arrays=arrays,
        candidates=(*checkpoint.candidates, name),
        provenance={**checkpoint.provenance, "onboarded": told},
        metrics=_metrics(made, arrays),
    )
    return _calibrated(made, f"after adding {name}")


def remove_model(checkpoint: Checkpoint, name: str) -> Checkpoint:
    """The checkpoint without one of its models.

    Raises:
        CheckpointError: it is of another kind, does not know the model, would have fewer than two candidates, or the
            model is the reference.
    """
    check_kind(checkpoint)
    row = checkpoint.row(name)
    candidates = tuple(model for model in checkpoint.candidates if model != name)
    if name == checkpoint.candidates[0] or len(candidates) < 2:
        role = "the reference" if name == checkpoint.candidates[0] else "one of its last two candidates"
        raise CheckpointError(f"{name!r} is {role} of checkpoint {checkpoint.path}, and stays: train another one")
    keep = [i for i in range(len(checkpoint.models)) if i != row]
    arrays = {key: value[:, keep] if key in _TABLES else value for key, value in checkpoint.arrays.items()}
    arrays["shrinkage"] = checkpoint.array("shrinkage", ndim=1)[keep]
    for key in ("coefficients", "constants"):
        if key in arrays:
            parts = np.split(arrays[key], 3)
            arrays[key] = np.concatenate([part[keep] for part in parts])
    onboarded = {key: value for key, value in checkpoint.provenance.get("onboarded", {}).items() if key != name}
    provenance = {key: value for key, value in checkpoint.provenance.items() if key != "onboarded"}
    made = replace(
        checkpoint,
        models=tuple(checkpoint.models[i] for i in keep),
        pair=ModelPair(candidates[0], candidates[-1]),
        candidates=candidates,
        arrays=arrays,
        provenance={**provenance, **({"onboarded": onboarded} if onboarded else {})},
    )
    made = replace(made, metrics=_metrics(made, arrays))
    return _calibrated(made, f"after removing {name}") if name in checkpoint.candidates else made


def check_kind(checkpoint: Checkpoint) -> None:
    """Raises `CheckpointError` where a checkpoint holds no scores of models on prompts."""
    if "scores" not in checkpoint.arrays or "shrinkage" not in checkpoint.arrays:
        raise CheckpointError(
            f"checkpoint {checkpoint.path} of kind {checkpoint.kind!r} holds no scores of models on prompts: train one "
            "with `pointsman train linear`, `knn` or `blend` and --candidates"
        )


def _with_column(checkpoint: Checkpoint, name: str, measured: Measured) -> Checkpoint:
    """The checkpoint with the model's estimated column in each table, and its own linear rows."""
    columns, arrays = [], dict(checkpoint.arrays)
    embeddings = checkpoint.array("embeddings", ndim=2).astype(np.float32)
    for table in _TABLES:
        stored = checkpoint.array(table, ndim=2).astype(np.float64)
        others = np.where(stored < 0.0, np.nan, stored)
        column, _ = estimate_column(others, embeddings, measured.rows, getattr(measured, table))
        columns.append(np.clip(column, 0.0, 1.0) if table == "scores" else column)
        kept = np.nan_to_num(columns[-1], nan=_UNKNOWN)
        arrays[table] = np.concatenate([stored, kept[:, None]], axis=1).astype(np.float32)
    if "landmarks" in arrays:
        scores, usd, _, output_tokens = columns
        options = checkpoint.options
        landmarks = Landmarks(checkpoint.array("landmarks", ndim=2), float(options["membership_temperature"]))
        (rows,) = fit_rows(
            landmarks,
            embeddings,
            np.stack([scores, usd, output_tokens], axis=1),
            penalties=np.array([float(options["penalty"])]),
        )
        constants = np.nan_to_num(rows.constants, nan=_UNKNOWN)
        for key, new in (("coefficients", rows.coefficients), ("constants", constants)):
            parts = np.split(checkpoint.arrays[key], 3)
            both = [np.concatenate([part, new[[i]]]) for i, part in enumerate(parts)]
            arrays[key] = np.concatenate(both).astype(np.float32)
    return replace(checkpoint, models=(*checkpoint.models, name), arrays=arrays)


def _shrinkage_of(checkpoint: Checkpoint, name: str, measured: Measured) -> float:
    """How far the model's predictions count, from landmarks that were left out with all their labels."""
    n = len(measured.rows)
    fold = np.random.default_rng(0).permutation(n) % _N_FOLDS
    models = checkpoint.models
    predicted = np.empty((n, len(models) + 1))
    for number in range(_N_FOLDS):
        held = fold == number
        outside = np.ones(len(checkpoint.array("scores", ndim=2)), dtype=bool)
        outside[measured.rows[held]] = False
        arrays = {
            key: value[outside] if key in (*_TABLES, "embeddings") else value
            for key, value in checkpoint.arrays.items()
        }
        place = np.cumsum(outside) - 1
        parts = [getattr(measured, table)[~held] for table in _TABLES]
        made = _with_column(replace(checkpoint, arrays=arrays), name, Measured(place[measured.rows[~held]], *parts))
        arrays = {**made.arrays, "shrinkage": np.ones(len(models) + 1, dtype=np.float32)}
        options = {**made.options, "trusted": True, "covered": 3.0, "not_covered": 4.0}
        router = _router(replace(made, arrays=arrays, options=options), (*models, name))
        embeddings = checkpoint.array("embeddings", ndim=2)[measured.rows[held]].astype(np.float32)
        predicted[held] = 1.0 - 2.0 * router.score(embeddings)  # less the first model's, which cancels in differences
    stored = checkpoint.array("scores", ndim=2)[measured.rows].astype(np.float64)
    scores = np.column_stack([np.where(stored < 0.0, np.nan, stored), measured.scores])
    part = float(checkpoint.options.get("part", 1.0))  # older checkpoints have none
    return part * float(shrinkage(predicted, scores)[-1])


def _metrics(checkpoint: Checkpoint, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    def known(table: str) -> list[float | None]:
        means = column_means(np.where(arrays[table] < 0.0, np.nan, arrays[table].astype(np.float64)))
        return [float(mean) if np.isfinite(mean) else None for mean in means]

    pairs = zip(checkpoint.models, known("scores"), known("usd"), strict=True)
    return {**checkpoint.metrics, "models": {name: {"score": score, "usd": usd} for name, score, usd in pairs}}


def _calibrated(checkpoint: Checkpoint, when: str) -> Checkpoint:
    """With the quantiles of its own prompts, seen in training; the old candidates' thresholds hold no longer."""
    embeddings = checkpoint.array("embeddings", ndim=2).astype(np.float32)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(embeddings))[:_MAX_CALIBRATION])
    router = _router(checkpoint, checkpoint.candidates)
    win_rates, usd, _ = router.score_and_bill(embeddings[rows])
    means = router.means or ()
    priced = all(mean.usd is not None for mean in means) and bool(np.isfinite(usd).all())
    worth = point_usd(np.array([m.usd for m in means]), np.array([m.score for m in means])) if priced else None
    levels = 1.0 - rng.random(len(rows))
    points = turning_points(win_rates, usd if priced else None, levels=levels, point_usd=worth)
    calibration = Calibration.from_win_rates(points, source=f"{counted(len(rows), 'training prompt')}, {when}")
    return replace(checkpoint, calibration=calibration, thresholds={}, probability_map=None, reference={})


def _router(checkpoint: Checkpoint, candidates: Sequence[str]) -> ScoreRouter:
    if checkpoint.embedder is None or checkpoint.canaries is None:
        raise CheckpointError(f"checkpoint {checkpoint.path} names no embedder")
    return load_candidates(checkpoint, RecordedEmbedder(checkpoint.embedder, checkpoint.canaries), candidates)
