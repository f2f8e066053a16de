"""The share of strong calls at every threshold, without outcomes."""

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import Calibration
from pointsman.core.operating_points import grid_thresholds

__all__ = ["calibration_points", "share_at"]


def calibration_points(calibration: Calibration) -> dict[str, list[float]]:
    """Thresholds, their shares of strong calls on prompts like the calibration's, and the shares' standard errors."""
    thresholds = grid_thresholds(np.array(calibration.quantiles))
    share = share_at(calibration, thresholds)
    error = np.sqrt(share * (1.0 - share) / calibration.n_prompts)
    columns = {"threshold": thresholds, "share": share, "share_error": error}
    return {name: np.round(values, 6).tolist() for name, values in columns.items()}


def share_at(calibration: Calibration, thresholds: FloatArray) -> FloatArray:
    """Share of prompts with win_rate >= threshold: `Calibration.threshold` the other way round.

    Where quantiles are tied, all prompts that have the tied win rate count.

    Args:
        thresholds: in [0, 1], shape (n_thresholds,).
    """
    quantiles = np.array(calibration.quantiles)
    probabilities = np.linspace(0.0, 1.0, quantiles.size)
    distinct, first = np.unique(quantiles, return_index=True)
    last = np.append(first[1:], quantiles.size) - 1
    above = np.searchsorted(distinct, thresholds, side="left")
    inside = (above > 0) & (above < distinct.size)
    k = np.where(inside, above, 1) if distinct.size > 1 else np.zeros_like(above)
    low, high = distinct[k - 1], distinct[k]
    part = np.where(high > low, (thresholds - low) / np.where(high > low, high - low, 1.0), 1.0)
    below = probabilities[last[k - 1]] + part * (probabilities[first[k]] - probabilities[last[k - 1]])
    return np.asarray(np.where(inside, 1.0 - below, np.where(above == 0, 1.0, 0.0)))
