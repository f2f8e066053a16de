"""From a trained matrix factorisation to its checkpoint."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from pointsman.backends.jax.mf_training import MFResult
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.pair import ModelPair

__all__ = ["flax_win_rates", "mf_checkpoint"]


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
        pair: the models whose win rate it predicts unless told otherwise.
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
