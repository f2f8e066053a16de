"""From a raw win rate to a true probability, and how far from one it is.

The truth of a prompt is its outcome: 1 where the strong model scores higher, 0 where the weak one does, 0.5 where they
tie. A win rate is calibrated where, among prompts of equal win rate, it is the mean outcome.

    ECE = sum over bins of (share of prompts in the bin) x |mean win rate - mean outcome|
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pointsman.core.activations import sigmoid
from pointsman.core.arrays import FloatArray
from pointsman.core.errors import FitError
from pointsman.core.metrics import check_outcomes

__all__ = [
    "METHODS",
    "IsotonicMap",
    "PlattMap",
    "ProbabilityMap",
    "Reliability",
    "cross_fitted",
    "expected_calibration_error",
    "fit_isotonic",
    "fit_platt",
    "pair_outcomes",
    "reliability",
]

_N_BINS = 15
_N_FOLDS = 5
_MAX_STEPS = 100
_CLIP = 1e-6
_RIDGE = 1e-6


class ProbabilityMap(Protocol):
    """A non-decreasing map from raw win rates to probabilities."""

    def __call__(self, win_rates: FloatArray) -> FloatArray:
        """Probabilities in [0, 1], same shape."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON-ready types."""
        ...


@dataclass(frozen=True, slots=True)
class IsotonicMap:
    """Straight lines between knots, constant outside.

    Attributes:
        win_rate, probability: the knots, both non-decreasing.
    """

    win_rate: tuple[float, ...]
    probability: tuple[float, ...]

    def __call__(self, win_rates: FloatArray) -> FloatArray:
        return np.asarray(np.interp(win_rates, self.win_rate, self.probability))

    def to_dict(self) -> dict[str, Any]:
        return {"method": "isotonic", "win_rate": list(self.win_rate), "probability": list(self.probability)}


@dataclass(frozen=True, slots=True)
class PlattMap:
    """probability = sigmoid(slope x logit(win_rate) + intercept), slope not negative."""

    slope: float
    intercept: float

    def __call__(self, win_rates: FloatArray) -> FloatArray:
        return sigmoid(self.slope * _logits(win_rates) + self.intercept)

    def to_dict(self) -> dict[str, Any]:
        return {"method": "platt", "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Win rates against outcomes, in bins of about equally many prompts; equal win rates share a bin.

    Attributes:
        win_rate, outcome: means of each bin, shape (n_bins,).
        n_prompts: of each bin, shape (n_bins,).
        outcome_error: standard error of the mean outcome, shape (n_bins,).
    """

    win_rate: FloatArray
    outcome: FloatArray
    n_prompts: FloatArray
    outcome_error: FloatArray

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]."""
        return float(self.n_prompts @ np.abs(self.win_rate - self.outcome) / self.n_prompts.sum())


def pair_outcomes(strong: FloatArray, weak: FloatArray) -> FloatArray:
    """Share of the win that goes to the strong model: 1, 0.5 or 0, shape (n_prompts,)."""
    strong, weak = check_outcomes(strong, weak)
    return np.asarray((strong > weak) + 0.5 * (strong == weak))


def fit_isotonic(win_rates: FloatArray, outcomes: FloatArray) -> IsotonicMap:
    """The non-decreasing map of least squared error, by pooling adjacent violators.

    Args:
        win_rates, outcomes: in [0, 1], shape (n_prompts,).

    Raises:
        ValueError: shapes differ, there is no prompt, or a value leaves [0, 1].
    """
    rates, outcomes = _checked(win_rates, outcomes)
    values, inverse, counts = np.unique(rates, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=outcomes) / counts
    pools: list[tuple[float, int, int]] = []  # mean, number of prompts, number of values
    for mean, count in zip(means.tolist(), counts.tolist(), strict=True):
        width = 1
        while pools and pools[-1][0] >= mean:
            pooled, n, w = pools.pop()
            mean, count, width = (mean * count + pooled * n) / (count + n), count + n, width + w
        pools.append((mean, count, width))
    knots: dict[float, float] = {}
    end = 0
    for mean, _, width in pools:
        knots[float(values[end])] = knots[float(values[end + width - 1])] = mean
        end += width
    return IsotonicMap(tuple(knots), tuple(knots.values()))


def fit_platt(win_rates: FloatArray, outcomes: FloatArray) -> PlattMap:
    """Logistic regression of the outcome on the logit of the win rate, by Newton's method.

    A falling slope would turn the router's order round: it is set to 0, and the map is then the mean outcome.

    Args:
        win_rates, outcomes: in [0, 1], shape (n_prompts,).

    Raises:
        ValueError: shapes differ, there is no prompt, or a value leaves [0, 1].
        FitError: the fit did not converge.
    """
    rates, outcomes = _checked(win_rates, outcomes)
    x = np.stack([_logits(rates), np.ones(rates.size)], axis=1)
    mean = float(np.clip(outcomes.mean(), _CLIP, 1.0 - _CLIP))
    constant = PlattMap(0.0, float(np.log(mean / (1.0 - mean))))
    if np.ptp(x[:, 0]) == 0.0:
        return constant
    weights = np.array([0.0, constant.intercept])
    for _ in range(_MAX_STEPS):
        p = sigmoid(x @ weights)
        gradient = x.T @ (outcomes - p) / rates.size - _RIDGE * weights
        if np.abs(gradient).max() < 1e-10:
            return PlattMap(float(weights[0]), float(weights[1])) if weights[0] > 0 else constant
        curvature = (x.T * (p * (1.0 - p))) @ x / rates.size + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step * min(1.0, 4.0 / float(np.abs(step).max()))
    raise FitError(f"Platt's map did not converge in {_MAX_STEPS} steps on {rates.size} prompts; use the isotonic map")


METHODS: dict[str, Callable[[FloatArray, FloatArray], ProbabilityMap]] = {"isotonic": fit_isotonic, "platt": fit_platt}


def cross_fitted(win_rates: FloatArray, outcomes: FloatArray, *, method: str, rng: np.random.Generator) -> FloatArray:
    """Each prompt's probability by a map that was fitted without it (5 random folds), for an honest ECE.

    Raises:
        ValueError: `method` is unknown, or there are fewer than two prompts.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, wanted one of {', '.join(METHODS)}")
    rates, outcomes = _checked(win_rates, outcomes)
    if rates.size < 2:
        raise ValueError("cross-fitting needs at least two prompts, got one")
    fold = rng.permutation(rates.size) % min(_N_FOLDS, rates.size)
    fitted = np.empty(rates.size)
    for k in range(int(fold.max()) + 1):
        held_out = fold == k
        fitted[held_out] = METHODS[method](rates[~held_out], outcomes[~held_out])(rates[held_out])
    return fitted


def reliability(win_rates: FloatArray, outcomes: FloatArray, *, n_bins: int = _N_BINS) -> Reliability:
    """Win rates against outcomes in about `n_bins` bins.

    Raises:
        ValueError: shapes differ, there is no prompt, a value leaves [0, 1], or `n_bins` is below 1.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}, wanted at least 1")
    rates, outcomes = _checked(win_rates, outcomes)
    order = np.argsort(rates, kind="stable")
    rates, outcomes = rates[order], outcomes[order]
    cuts = rates[np.minimum(np.arange(1, n_bins) * rates.size // n_bins, rates.size - 1)]
    starts = np.unique(np.concatenate(([0], np.searchsorted(rates, cuts))))
    n = np.diff(np.append(starts, rates.size)).astype(np.float64)
    mean = np.add.reduceat(outcomes, starts) / n
    variance = np.maximum(np.add.reduceat(outcomes**2, starts) / n - mean**2, 0.0)
    return Reliability(np.add.reduceat(rates, starts) / n, mean, n, np.sqrt(variance / n))


def expected_calibration_error(win_rates: FloatArray, outcomes: FloatArray) -> float:
    """ECE over 15 bins of about equally many prompts; see `reliability`."""
    return reliability(win_rates, outcomes).ece


def _logits(win_rates: FloatArray) -> FloatArray:
    p = np.clip(np.asarray(win_rates, dtype=np.float64), _CLIP, 1.0 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def _checked(win_rates: FloatArray, outcomes: FloatArray) -> tuple[FloatArray, FloatArray]:
    rates, outcomes = np.asarray(win_rates, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if rates.ndim != 1 or rates.shape != outcomes.shape or not rates.size:
        raise ValueError(f"win_rates and outcomes have shapes {rates.shape}, {outcomes.shape}, wanted one (n_prompts,)")
    for name, values in (("win_rates", rates), ("outcomes", outcomes)):
        bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if bad.size:
            raise ValueError(f"{name}[{bad[0]}] is {values[bad[0]]}, wanted a number in [0, 1]")
    return rates, outcomes
