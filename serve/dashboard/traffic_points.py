"""What every threshold would have given on the prompts that were routed here: shares and dollars, no quality."""

from collections.abc import Sequence

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["traffic_points"]


def traffic_points(bins: Sequence[tuple[float, ...]], *, n_bins: int = 1000) -> tuple[dict[str, list[float]], int]:
    """Figures at the bins' edges as in `OperatingPoints.columns`, and the number of prompts.

    Dollars are those of the prompts where they are known of both models; they are left out where there is none.

    Args:
        bins: rows of `Store.bins`, at least one.
        n_bins: in [0, 1].
    """
    found = np.array(bins)
    sums = np.zeros((8, n_bins + 1))
    sums[1:, found[:, 0].astype(np.int64)] = found[:, 1:].T
    first, last = int(found[0, 0]), int(found[-1, 0])
    edges = np.unique([0, *range(first, min(last + 2, n_bins) + 1), n_bins])
    above = np.cumsum(sums[:, ::-1], axis=1)[:, ::-1][:, edges]  # over win rates at or above each edge
    n_prompts, n_priced = above[1, 0], above[2, 0]
    share = above[1] / n_prompts
    columns = {"threshold": edges / n_bins, "share": share, "share_error": np.sqrt(share * (1.0 - share) / n_prompts)}
    if n_priced:
        columns |= _dollars(above, n_priced)
    return {name: np.round(values, 6).tolist() for name, values in columns.items()}, int(n_prompts)


def _dollars(above: FloatArray, n: float) -> dict[str, FloatArray]:
    """Dollars of a thousand prompts and what is saved, with their standard errors."""
    _, _, _, strong, weak, strong2, weak2, both = above
    mean = (strong + weak[0] - weak) / n
    square = (strong2 + weak2[0] - weak2) / n
    found = {"usd": 1000.0 * mean, "usd_error": 1000.0 * _root((square - mean**2) / n)}
    whole = strong[0] / n
    if whole > 0.0:
        ratio, product = mean / whole, (strong2 + both[0] - both) / n
        residual = square - 2.0 * ratio * product + ratio**2 * strong2[0] / n
        found |= {"saving": 1.0 - ratio, "saving_error": _root(residual / n) / whole}
    return found


def _root(values: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(values, 0.0)))  # rounding may leave a variance of zero just below it
