"""How much a past battle tells about a new prompt."""

import numpy as np

from pointsman.core.arrays import AnyFloatArray

__all__ = ["similarity_weights", "unit_rows"]


def unit_rows(embeddings: AnyFloatArray) -> AnyFloatArray:
    """Rows at Euclidean norm 1; zero rows stay zero."""
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return np.asarray(embeddings / np.where(norms > 0, norms, 1.0).astype(embeddings.dtype))


def similarity_weights(cosines: AnyFloatArray) -> AnyFloatArray:
    """Weights of battles for queries: 10 x 10^(s / max s), s the cosine to the query (Ong et al. 2024, section 3.1).

    The best match weighs 100, an unrelated battle 10. Where no battle has a positive cosine the formula would favour
    the least similar ones; all battles then weigh 10.

    Args:
        cosines: in [-1, 1], shape (..., n_battles).

    Returns:
        Weights in (0, 100], same shape and type.
    """
    cosines = np.asarray(cosines)
    best = cosines.max(axis=-1, keepdims=True)
    related = best > 0
    scaled = np.where(related, cosines, 0.0) / np.where(related, best, 1.0)
    exponent = np.maximum(scaled, -30.0).astype(cosines.dtype)
    return np.asarray(10.0 * np.power(np.asarray(10.0, dtype=cosines.dtype), exponent)).astype(cosines.dtype)
