"""Sigmoid and softmax that neither overflow nor warn."""

import numpy as np

from pointsman.core.arrays import AnyFloatArray, FloatArray

__all__ = ["sigmoid", "softmax"]


def sigmoid(x: AnyFloatArray | float) -> FloatArray:
    """1 / (1 + exp(-x)) in float64, elementwise; exact at both tails and for infinities.

    Args:
        x: logits in nats, any shape.
    """
    x = np.asarray(x, dtype=np.float64)
    decay = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, decay) / (1.0 + decay))


def softmax(logits: AnyFloatArray, axis: int = -1) -> FloatArray:
    """exp(x_i) / sum_j exp(x_j) in float64, shifted by the maximum along `axis`.

    Args:
        logits: finite logits in nats, any shape with at least one entry along `axis`.

    Raises:
        ValueError: a logit is NaN or infinite, or the axis is empty.
    """
    x = np.asarray(logits, dtype=np.float64)
    if x.shape[axis] == 0:
        raise ValueError(f"logits have shape {x.shape}: softmax needs at least one entry along axis {axis}")
    if not np.isfinite(x).all():
        raise ValueError("logits contain NaN or infinity: softmax needs finite values")
    weights = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(weights / weights.sum(axis=axis, keepdims=True))
