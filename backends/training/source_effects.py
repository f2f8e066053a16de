"""Effects of single sources, learned beside what all have in common, and then averaged away.

Sources differ in their prompts and in how far their models are apart. A linear model that is told neither mistakes the
one for the cause of the other: "reads like source k" becomes "strong wins by as much as in k". One more input per
source, 1 for its own prompts, takes up such differences while training; afterwards each prompt counts as a little of
every source, which leaves a constant:

    W [e; s] + b, s the indicator of the source   ->   W_e e + (W_s s_mean + b)
"""

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.mf import MFWeights

__all__ = ["add_sources", "average_sources", "equal_shares"]


def equal_shares(n_sources: int) -> FloatArray:
    """Every source counts alike, shape (n_sources,)."""
    return np.full(n_sources, 1.0 / n_sources)


def add_sources(embeddings: Float32Array, sources: FloatArray | IntArray, n_sources: int) -> Float32Array:
    """Embeddings with a column per source, shape (n_prompts, dim + n_sources).

    Args:
        sources: number of each prompt's source, shape (n_prompts,), or shares of all sources, shape (n_sources,).
    """
    if sources.dtype.kind == "i":
        columns = np.eye(n_sources, dtype=np.float32)[sources]
    else:
        columns = np.tile(sources.astype(np.float32), (len(embeddings), 1))
    return np.hstack([embeddings, columns])


def average_sources(weights: MFWeights, shares: FloatArray) -> MFWeights:
    """Weights on bare embeddings that equal `weights` on embeddings with these shares of the sources.

    Args:
        weights: trained on `add_sources`.
        shares: of the sources, shape (n_sources,).
    """
    dim = weights.dim - len(shares)
    constant = weights.projection[:, dim:] @ shares + weights.projection_bias
    return MFWeights(weights.model_embeddings, weights.projection[:, :dim], weights.classifier, constant)
