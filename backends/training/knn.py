"""Training of the nearest-neighbour router: its neighbours are the data, only the calibration is fitted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pointsman.backends.data.outcomes import Outcomes
from pointsman.backends.training.connectivity import swapped
from pointsman.backends.training.drift_sample import referenced
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.model_groups import check_group_names
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.errors import DataError, FitError
from pointsman.core.knn import left_out_shares
from pointsman.core.metrics import apgr, quality_curve
from pointsman.core.pair import ModelPair
from pointsman.core.probability import PlattMap, fit_platt
from pointsman.core.routers.knn import read_neighbours
from pointsman.core.similarity import unit_rows

__all__ = ["KNNRecipe", "fit_knn", "referenced_knn"]

_MAX_LEFT_OUT = 4000
_MIN_PROMPTS = 20


@dataclass(frozen=True, slots=True)
class KNNRecipe:
    """Settings of a nearest-neighbour router.

    Attributes:
        k: how many neighbours count.
        temperature: of their weights, see `core.knn`.
        margin: scores that differ by no more than this are a tie.
        dtype: "float16" halves the checkpoint and changes cosines by less than 1e-3; or "float32".
        seed: of the choice of prompts that the calibration is fitted on.
    """

    k: int = 100
    temperature: float = 0.1
    margin: float = 0.0
    dtype: str = "float16"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k < 1 or not self.temperature > 0 or not self.margin >= 0:
            raise ValueError(
                f"k is {self.k}, temperature {self.temperature}, margin {self.margin}: "
                "wanted k >= 1, temperature > 0, margin >= 0"
            )
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"dtype is {self.dtype!r}, wanted 'float16' or 'float32'")


def fit_knn(
    outcomes: Outcomes, embeddings: PromptEmbeddings, strong: Sequence[str], weak: Sequence[str], recipe: KNNRecipe
) -> Checkpoint:
    """A `knn` checkpoint of an outcome table for a pair of models or of groups of models.

    Win rates are calibrated on training prompts whose own outcome was left out; the figures of that are its metrics.

    Args:
        embeddings: of `outcomes.prompts`, in their order.
        strong, weak: names of the models of each side; a side of several becomes group "strong" or "weak".

    Raises:
        DataError: embeddings do not fit the prompts or are not finite, a side is empty, unknown or overlaps the
            other, or fewer than 20 prompts were answered by both.
        FitError: neighbours do not predict the outcome.
    """
    values = _checked(outcomes, embeddings)
    draft = _draft(outcomes, embeddings, values, strong, weak, recipe)
    neighbours = read_neighbours(draft, draft.pair)
    if len(neighbours.share) < _MIN_PROMPTS:
        raise DataError(
            f"{draft.pair.strong!r} and {draft.pair.weak!r} met on {counted(len(neighbours.share), 'prompt')}, "
            f"wanted at least {_MIN_PROMPTS}; choose another pair or add outcomes"
        )
    n = len(neighbours.share)
    rows = np.sort(np.random.default_rng(recipe.seed).permutation(n)[:_MAX_LEFT_OUT])
    predicted, actual = left_out_shares(neighbours, rows, np.arange(n)), neighbours.share[rows]
    calibration = fit_platt(predicted, actual)
    if not calibration.slope > 0:
        raise FitError(
            f"neighbours do not predict where {draft.pair.strong!r} beats {draft.pair.weak!r} "
            f"on {counted(n, 'prompt')}: "
            "raise k, choose another pair or another embedder, or add outcomes"
        )
    options = {**draft.options, "slope": calibration.slope, "intercept": calibration.intercept}
    notes = [] if neighbours.share.mean() > 0.5 else [swapped(draft.pair)]
    metrics = {"n_prompts": n, "left_out": _figures(calibration(predicted), actual), "notes": notes}
    return replace(draft, options=options, metrics=metrics)


def referenced_knn(checkpoint: Checkpoint, *, source: str, seed: int) -> Checkpoint:
    """A fitted checkpoint with its reference, see `referenced`: every prompt's own outcome is left out."""
    neighbours = read_neighbours(checkpoint, checkpoint.pair)
    calibration = PlattMap(float(checkpoint.options["slope"]), float(checkpoint.options["intercept"]))
    each = np.arange(len(neighbours.share))
    return referenced(
        checkpoint,
        neighbours.embeddings,
        source=source,
        seed=seed,
        win_rates=lambda rows: calibration(left_out_shares(neighbours, rows, each)),
    )


def _checked(outcomes: Outcomes, embeddings: PromptEmbeddings) -> Float32Array:
    values = embeddings.values
    if values.ndim != 2 or len(values) != len(outcomes.prompts):
        raise DataError(f"embeddings have shape {values.shape}, wanted ({len(outcomes.prompts)}, dim): one per prompt")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise DataError(f"embedding in row {bad[0]} contains NaN or infinity ({bad.size} such rows)")
    return values


def _draft(
    outcomes: Outcomes,
    embeddings: PromptEmbeddings,
    values: Float32Array,
    strong: Sequence[str],
    weak: Sequence[str],
    recipe: KNNRecipe,
) -> Checkpoint:
    """The checkpoint with everything but calibration and metrics."""
    known = ", ".join(outcomes.models[:20]) + (", ..." if len(outcomes.models) > 20 else "")
    for name in (*strong, *weak):
        if name not in outcomes.models:
            raise DataError(f"no outcomes of model {name!r}; the table has those of {known}")
    if not strong or not weak or set(strong) & set(weak):
        given = f"strong is {list(strong)}, weak is {list(weak)}"
        raise DataError(f"{given}: name at least one model each of {known}, and none on both sides")
    sides = {"strong": list(strong), "weak": list(weak)}
    groups = {side: names for side, names in sides.items() if len(names) > 1}
    check_group_names(set(outcomes.models).difference(*groups.values()), groups)
    pair = ModelPair(*(side if side in groups else names[0] for side, names in sides.items()))
    return Checkpoint(
        kind="knn",
        models=outcomes.models,
        pair=pair,
        embedder=embeddings.identity,
        canaries=embeddings.canaries,
        arrays={
            "embeddings": unit_rows(values.astype(np.float32)).astype(recipe.dtype),
            "outcome_prompt": outcomes.prompt.astype(np.int32),
            "outcome_model": outcomes.model.astype(np.int32),
            "outcome_score": outcomes.score.astype(np.float32),
        },
        options={"groups": groups, "k": recipe.k, "temperature": recipe.temperature, "margin": recipe.margin},
    )


def _figures(win_rates: FloatArray, share: FloatArray) -> dict[str, Any]:
    """Loss in nats beside that of the constant mean, and APGR of routing by these win rates."""
    constant = np.full_like(share, share.mean())
    return {
        "n_prompts": len(share),
        "loss": _loss(win_rates, share),
        "loss_of_constant": _loss(constant, share),
        "apgr": apgr(quality_curve(win_rates, share, 1.0 - share)),
    }


def _loss(win_rates: FloatArray, share: FloatArray) -> float:
    p = np.clip(win_rates, 1e-12, 1.0 - 1e-12)
    return float(-(share * np.log(p) + (1.0 - share) * np.log1p(-p)).mean())
