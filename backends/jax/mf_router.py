"""From a trained matrix factorisation to its checkpoint."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pointsman.backends.export import calibrated, export_checkpoint
from pointsman.backends.jax.mf_training import MFResult, train_mf
from pointsman.backends.training.candidates import weigh_candidates
from pointsman.backends.training.drift_sample import referenced
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.examples import Examples, rating_baseline, split
from pointsman.backends.training.history import Epoch
from pointsman.backends.training.mf_recipe import MFRecipe
from pointsman.backends.training.provenance import calibration_sample, provenance
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import FitError
from pointsman.core.pair import ModelPair

__all__ = ["check_platform", "fit_mf", "flax_win_rates", "mf_checkpoint"]


def mf_checkpoint(
    result: MFResult,
    models: tuple[str, ...],
    pair: ModelPair,
    *,
    embedder: EmbedderIdentity,
    canaries: Float32Array,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Checkpoint:
    """The checkpoint of a training result, its arrays float32.

    Args:
        models: names in the order of the battles that it was trained on.
        pair: the models whose win rate it predicts by default.
        embedder, canaries: identity of the embedder, and its embeddings of the canary sentences.
    """
    weights = result.weights
    arrays = {
        "model_embeddings": weights.model_embeddings,
        "projection": weights.projection,
        "classifier": weights.classifier,
        "projection_bias": weights.projection_bias,
    }
    return Checkpoint(
        kind="mf",
        models=models,
        pair=pair,
        embedder=embedder,
        canaries=canaries,
        arrays={name: array.astype(np.float32) for name, array in arrays.items()},
        provenance=provenance,
        metrics=metrics,
    )


def flax_win_rates(result: MFResult, embeddings: Float32Array, strong: int, weak: int) -> FloatArray:
    """Win rates of model row `strong` over row `weak` as Flax computes them, shape (n_prompts,)."""
    first, second = (np.full(len(embeddings), row, dtype=np.int32) for row in (strong, weak))
    return np.asarray(jax.nn.sigmoid(result.model(embeddings, first, second)), dtype=np.float64)


def check_platform() -> None:
    """Raises where JAX cannot compute on the platform that the environment names.

    Raises:
        FitError: it cannot.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter is what JAX says of a platform it was not built for
        named = os.environ.get("JAX_PLATFORMS") or "none"
        raise FitError(
            f"JAX cannot compute on this machine (JAX_PLATFORMS is {named!r}): {str(error) or 'no such platform'}; "
            "unset it, or set it to 'cpu'"
        ) from error


def fit_mf(
    examples: Examples,
    embeddings: PromptEmbeddings,
    pair: ModelPair,
    recipe: MFRecipe,
    path: str | os.PathLike[str],
    *,
    validation_fraction: float = 0.05,
    n_devices: int = 1,
    state_path: Path | None = None,
    candidates: Sequence[str] = (),
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Checkpoint:
    """Trains on examples and writes the calibrated checkpoint to `path`; see `train_mf`.

    Args:
        embeddings: those of the examples, with their embedder.
        validation_fraction: share of the prompts held out to find the best epoch; 0 trains on all.
        n_devices: devices to split every batch over.
        candidates: models to weigh, the reference first, where they are more than the pair.

    Raises:
        ValueError: there are fewer devices, or they do not divide the batch.
        DataError, FitError, CheckpointError: see `train_mf` and `export_checkpoint`.
    """
    train, held = examples, None
    if validation_fraction:
        train, held = split(examples, validation_fraction=validation_fraction, seed=recipe.seed)
    result = train_mf(train, held, recipe, mesh=_mesh(n_devices), state_path=state_path, on_epoch=on_epoch)
    models, reports = examples.battle_set.battles.models, examples.battle_set.reports
    metrics: dict[str, Any] = {"n_battles": len(train), "best_epoch": {**asdict(result.best), "seconds": None}}
    if held is not None:
        better_rated = rating_baseline(train.battle_set, held.battle_set)
        metrics |= {"n_validation_battles": len(held), "always_better_rated": asdict(better_rated)}
    draft = mf_checkpoint(
        result, models, pair, embedder=embeddings.identity, canaries=embeddings.canaries, provenance={}, metrics=metrics
    )
    sample, source = calibration_sample(embeddings.values, reports, recipe.seed)
    checkpoint = calibrated(provenance(draft, reports, recipe, "jax", "flax", "optax"), sample, source=source)
    rows = None if held is None else np.unique(held.battle_set.prompt)
    checkpoint = referenced(checkpoint, embeddings.values, source=source, seed=recipe.seed, held=rows)
    expected = flax_win_rates(result, sample, checkpoint.row(pair.strong), checkpoint.row(pair.weak))
    export_checkpoint(checkpoint, path, sample=sample, expected=expected)
    if len(candidates) > 2:
        checkpoint = weigh_candidates(checkpoint, candidates, sample, source=source)
        export_checkpoint(checkpoint, path, sample=sample, expected=None)
    return checkpoint


def _mesh(n_devices: int) -> Mesh | None:
    devices = jax.devices()
    if not 1 <= n_devices <= len(devices):
        raise ValueError(f"n_devices is {n_devices}, wanted 1 to {len(devices)}, the number of devices here")
    return None if n_devices == 1 else Mesh(np.array(devices[:n_devices]), ("data",))
