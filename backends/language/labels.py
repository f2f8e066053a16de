"""From differences of scores to the labels that language models learn."""

import numpy as np

from pointsman.core.aggregation import N_SCORES
from pointsman.core.arrays import FloatArray, IntArray

__all__ = ["UNKNOWN", "class_labels", "head_labels", "score_labels"]

UNKNOWN = -1


def class_labels(difference: FloatArray, *, margin: float = 0.0) -> IntArray:
    """0 strong wins, 1 tie, 2 weak wins, shape (n_prompts,).

    Args:
        difference: score of strong minus score of weak, finite, shape (n_prompts,).
        margin: differences of at most this size are ties.

    Raises:
        ValueError: `margin` is negative, or a difference is not finite.
    """
    difference = _finite(difference)
    if not margin >= 0:
        raise ValueError(f"margin is {margin}, wanted a number of at least 0")
    return np.where(difference > margin, 0, np.where(difference < -margin, 2, 1)).astype(np.int64)


def head_labels(difference: FloatArray, *, margin: float = 0.0) -> IntArray:
    """The same of one or more weak models, shape (n_prompts, n_heads); UNKNOWN where a difference is NaN.

    Args:
        difference: shape (n_prompts,) or (n_prompts, n_heads).
    """
    by_head = np.asarray(difference, dtype=np.float64).reshape(len(difference), -1)
    known = ~np.isnan(by_head)
    labels = np.full(by_head.shape, UNKNOWN, dtype=np.int64)
    labels[known] = class_labels(by_head[known], margin=margin)
    return labels


def score_labels(difference: FloatArray, *, scale: float = 1.0) -> IntArray:
    """How well the weak model suffices, 1 to 5, shape (n_prompts,).

    5 where weak is no worse than strong, 1 where it trails by `scale` or more, evenly between:

        score = floor(5.5 - 4 min(max(difference, 0) / scale, 1))

    Args:
        difference: score of strong minus score of weak, finite, shape (n_prompts,).
        scale: the difference at which weak is of no use.

    Raises:
        ValueError: `scale` is not positive, or a difference is not finite.
    """
    difference = _finite(difference)
    if not scale > 0:
        raise ValueError(f"scale is {scale}, wanted a positive number")
    trailing = np.clip(difference / scale, 0.0, 1.0)
    return np.floor(N_SCORES + 0.5 - (N_SCORES - 1) * trailing).astype(np.int64)


def _finite(difference: FloatArray) -> FloatArray:
    difference = np.asarray(difference, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(difference))
    if bad.size:
        raise ValueError(f"difference is {difference[bad[0]]} in row {bad[0]}, wanted a finite number")
    return difference
