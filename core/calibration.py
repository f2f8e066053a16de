"""Thresholds from a budget of strong-model calls or of dollars."""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["Calibration", "calibrate_threshold", "mean_cost_usd", "strong_share", "threshold_for_cost", "tie_mass"]

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


def tie_mass(win_rates: FloatArray, threshold: float) -> float:
    """Share of prompts with win_rate == threshold: these all go to the strong model or, just above, none of them.

    Raises:
        ValueError: `win_rates` is empty or leaves [0, 1].
    """
    return float((_check_win_rates(win_rates) == threshold).mean())


def mean_cost_usd(win_rates: FloatArray, threshold: float, *, strong_usd: FloatArray, weak_usd: FloatArray) -> float:
    """Mean cost of a prompt in dollars at a threshold; see `threshold_for_cost`."""
    rates = _check_win_rates(win_rates)
    return float(np.where(rates >= threshold, strong_usd, weak_usd).mean())


def threshold_for_cost(
    win_rates: FloatArray, *, strong_usd: FloatArray, weak_usd: FloatArray, max_cost_usd: float
) -> float:
    """Threshold that sends as many prompts as a budget allows to the strong model.

    The mean cost of these prompts stays within the budget, ties included: a tie that does not fit goes to the weak
    model as a whole.

    Args:
        win_rates: in [0, 1], shape (n_prompts,).
        strong_usd, weak_usd: cost of each prompt with each model in dollars, not negative, shape (n_prompts,).
        max_cost_usd: highest mean cost of a prompt.

    Raises:
        ValueError: shapes differ, a value leaves its range, or the budget does not pay for the weak model alone.
    """
    rates = _check_win_rates(win_rates)
    costs = [np.asarray(c, dtype=np.float64) for c in (strong_usd, weak_usd)]
    if any(c.shape != rates.shape or not ((c >= 0) & np.isfinite(c)).all() for c in costs):
        shapes = [c.shape for c in costs]
        raise ValueError(f"costs have shapes {shapes}, wanted {rates.shape} finite dollars that are not negative")
    order = np.argsort(-rates, kind="stable")
    values = rates[order]
    ends = np.flatnonzero(np.diff(values, append=-np.inf)) + 1
    extra = np.cumsum((costs[0] - costs[1])[order])[ends - 1]
    cost = costs[1].mean() + np.concatenate(([0.0], extra)) / rates.size
    affordable = np.flatnonzero(cost <= max_cost_usd * (1.0 + 1e-12))
    if not affordable.size:
        raise ValueError(
            f"max_cost_usd is {max_cost_usd:.6g} a prompt, but the cheapest threshold costs {cost.min():.6g}: "
            "raise the budget or name a cheaper weak model"
        )
    n_ties = int(affordable[-1])
    if n_ties:
        return float(values[ends[n_ties - 1] - 1])
    if values[0] == 1.0:
        raise ValueError("the budget pays for no strong call, but win rates of 1 go there at every threshold in [0, 1]")
    return float(np.nextafter(values[0], 1.0))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Quantiles of a router's win rates on its calibration prompts, stored in the checkpoint.

    Attributes:
        source: description of the prompts.
        n_prompts: number of prompts.
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
