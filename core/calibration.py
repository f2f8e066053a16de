"""Thresholds from a budget of strong-model calls."""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["Calibration", "calibrate_threshold", "strong_share"]

_N_QUANTILES = 1001


def calibrate_threshold(win_rates: FloatArray, *, strong_share: float) -> float:
    """Threshold that sends about `strong_share` of the prompts to the strong model.

    The (1 - strong_share) quantile of the win rates, linearly interpolated (Ong et al. 2024, section 4). The share
    reached differs from the wanted one by at most 1 / n_prompts plus the mass of win rates tied at the threshold.

    Args:
        win_rates: strong model's win rate per prompt, in [0, 1], shape (n_prompts,).
        strong_share: wanted share of prompts for the strong model, in [0, 1].

    Raises:
        ValueError: `win_rates` is empty or leaves [0, 1], or `strong_share` leaves [0, 1].
    """
    _check_share(strong_share)
    return float(np.quantile(_check_win_rates(win_rates), 1.0 - strong_share))


def strong_share(win_rates: FloatArray, threshold: float) -> float:
    """Share of prompts with win_rate >= threshold.

    Raises:
        ValueError: `win_rates` is empty or leaves [0, 1].
    """
    return float((_check_win_rates(win_rates) >= threshold).mean())


@dataclass(frozen=True, slots=True)
class Calibration:
    """Quantiles of a router's win rates on its calibration prompts, which travel with the checkpoint.

    Attributes:
        source: what the prompts were.
        n_prompts: how many there were.
        quantiles: win rates at evenly spaced probabilities from 0 to 1, non-decreasing, in [0, 1].

    Raises:
        ValueError: fewer than two quantiles, or they fall or leave [0, 1].
    """

    source: str
    n_prompts: int
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        q = np.asarray(self.quantiles, dtype=np.float64)
        if q.ndim != 1 or q.size < 2 or not ((q >= 0) & (q <= 1)).all() or (np.diff(q) < 0).any():
            raise ValueError("calibration quantiles must be at least two non-decreasing numbers in [0, 1]")

    @classmethod
    def from_win_rates(cls, win_rates: FloatArray, *, source: str) -> "Calibration":
        """Quantiles of a sample of win rates.

        Raises:
            ValueError: `win_rates` is empty or leaves [0, 1].
        """
        rates = _check_win_rates(win_rates)
        quantiles = np.quantile(rates, np.linspace(0.0, 1.0, _N_QUANTILES))
        return cls(source, rates.size, tuple(float(q) for q in np.maximum.accumulate(quantiles)))

    def threshold(self, strong_share: float) -> float:
        """Threshold that sent `strong_share` of the calibration prompts to the strong model.

        Raises:
            ValueError: `strong_share` leaves [0, 1].
        """
        _check_share(strong_share)
        return float(np.interp(1.0 - strong_share, np.linspace(0.0, 1.0, len(self.quantiles)), self.quantiles))


def _check_win_rates(win_rates: FloatArray) -> FloatArray:
    rates = np.asarray(win_rates, dtype=np.float64)
    if rates.ndim != 1 or rates.size == 0:
        raise ValueError(f"win_rates have shape {rates.shape}, wanted (n_prompts,) with at least one prompt")
    if not ((rates >= 0) & (rates <= 1)).all():
        row = int(np.flatnonzero(~((rates >= 0) & (rates <= 1)))[0])
        raise ValueError(f"win_rates[{row}] is {rates[row]}, wanted a number in [0, 1]")
    return rates


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"strong_share is {share}, wanted a number in [0, 1]")
