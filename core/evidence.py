"""Whether predictions of scores are worth acting on: cross-validated, against the models' own means.

All that is asked here is asked of predictions for prompts that the predictor had not seen.

    shrinkage  b_i, mean over j of the least-squares slope of the true difference s_i - s_j on the predicted one, both
               less their means, drawn to the slope of all pairs together as far as slopes differ by no more than their
               errors, and that one towards 0 by its own error; within [0, 1]
    signal     that slope of all pairs together, in its standard errors, prompts being independent: it takes far fewer
               prompts than the gain, which is noisy wherever the choice differs from a fixed one
    gain       mean over worths t in [1/2, 1] of score - (2t - 1) r at what the rule chooses, less the same at the
               best fixed model: per prompt, so that its standard error is that of a mean
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.choice_rows import weigh_rows
from pointsman.core.hull import upper_hull

__all__ = ["Evidence", "gain_over_fixed", "shrinkage", "signal"]

_N_WORTHS = 26
_Z = 1.645  # standard errors by which the gain must exceed zero: 95 %, one-sided
_SIGNAL = 2.33  # or the slope, where there is any gain at all: 99 %


@dataclass(frozen=True, slots=True)
class Evidence:
    """What choosing by prompt gains over a fixed choice of models.

    Attributes:
        gain: in score, relative bills paid for at the worths of the knob.
        error: its standard error.
        n_prompts: how many it was measured on.
        signal: see `signal`.
    """

    gain: float
    error: float
    n_prompts: int
    signal: float = 0.0

    @property
    def trusted(self) -> bool:
        """Whether the gain is above zero by 1.645 standard errors, or at all with a signal of 2.33."""
        return self.surely_gains or (self.gain > 0.0 and self.signal > _SIGNAL)

    @property
    def surely_gains(self) -> bool:
        """Whether the gain is above zero by 1.645 standard errors."""
        return self.gain > _Z * self.error


def signal(predicted: FloatArray, scores: FloatArray) -> float:
    """How surely predicted differences between models tell true ones: slope / its standard error, 0 without any.

    Args:
        predicted, scores: see `shrinkage`.
    """
    slope, error = _pooled(_by_pair(predicted, scores))
    return slope / float(np.sqrt(error)) if error > 0.0 else 0.0


def shrinkage(predicted: FloatArray, scores: FloatArray) -> FloatArray:
    """How far a model's predicted scores count beyond their mean, in [0, 1], shape (n_models,).

    Args:
        predicted: for prompts that were not seen, shape (n_prompts, n_models).
        scores: what they scored, NaN where not known, same shape.
    """
    pairs = _by_pair(predicted, scores)
    slopes, errors, able = pairs.slopes, pairs.errors, pairs.able
    if not able.any():
        return np.zeros(len(slopes))
    pooled, error = _pooled(pairs)
    usual = max(pooled - error / pooled, 0.0) if pooled > 0.0 else 0.0
    spread = max(float(((slopes - pooled)[able] ** 2 - errors[able]).mean()), 0.0)
    own = spread / np.where(able, np.maximum(spread + errors, 1e-12), 1.0)
    by_pair = np.where(able, np.clip(usual + own * (slopes - usual), 0.0, 1.0), 0.0)
    return np.asarray(by_pair.sum(axis=1) / max(len(slopes) - 1, 1))


class _Pairs(NamedTuple):
    """Slopes of true on predicted differences, their squared errors, which exist, shape (n_models, n_models) each; and
    products and squares of each prompt, summed over these pairs, shape (n_prompts,).
    """

    slopes: FloatArray
    errors: FloatArray
    able: np.ndarray
    both: FloatArray
    squares: FloatArray


def _by_pair(predicted: FloatArray, scores: FloatArray) -> _Pairs:
    n, n_models = scores.shape
    slopes, errors = np.zeros((n_models, n_models)), np.zeros((n_models, n_models))
    able = np.zeros((n_models, n_models), dtype=bool)
    both, squares = np.zeros(n), np.zeros(n)
    for i in range(n_models):
        difference, true = predicted[:, [i]] - predicted, scores[:, [i]] - scores
        known = np.isfinite(true) & np.isfinite(difference)
        x, y = _centred(difference, known), _centred(true, known)
        square, count = (x**2).sum(axis=0), known.sum(axis=0)
        able[i] = (count > 2) & (square > 1e-12)
        divisor = np.where(able[i], square, 1.0)
        slopes[i] = np.where(able[i], (x * y).sum(axis=0) / divisor, 0.0)
        residual = ((y - slopes[i] * x) ** 2).sum(axis=0) / np.maximum(count - 2, 1)
        errors[i] = np.where(able[i], residual / divisor, 0.0)
        both += (x * y)[:, able[i]].sum(axis=1)
        squares += (x**2)[:, able[i]].sum(axis=1)
    return _Pairs(slopes, errors, able, both, squares)


def _pooled(pairs: _Pairs) -> tuple[float, float]:
    """The slope of all pairs together and its squared error, prompts being independent; zeros without a pair."""
    total = float(pairs.squares.sum())
    if total == 0.0:
        return 0.0, 0.0
    slope = float(pairs.both.sum()) / total
    return slope, float(((pairs.both - slope * pairs.squares) ** 2).sum()) / total**2


def _centred(values: FloatArray, known: np.ndarray) -> FloatArray:
    """Less their column's mean, 0 where not known."""
    filled = np.where(known, values, 0.0)
    mean = filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, filled - mean, 0.0)


def gain_over_fixed(
    win_rates: FloatArray,
    expected_usd: FloatArray | None,
    scores: FloatArray,
    usd: FloatArray | None,
    means: tuple[FloatArray, FloatArray],
) -> Evidence:
    """What the rule gains with these predictions, the first candidate being the reference.

    Args:
        win_rates, expected_usd: predicted for prompts that were not seen, shape (n_prompts, n_candidates).
        scores, usd: what came, NaN where not known: the candidate's mean counts there.
        means: of scores and of dollars, as known without these prompts, shape (n_prompts, n_candidates) each.
    """
    n, n_candidates = scores.shape
    rows = np.arange(n)
    true_scores = np.where(np.isfinite(scores), scores, means[0])
    if usd is None or expected_usd is None:
        bills = np.tile(np.linspace(1.0, 0.0, n_candidates), (n, 1))
        expected, mean_bills = None, bills
    else:
        bills, expected, mean_bills = np.where(np.isfinite(usd), usd, means[1]), expected_usd, means[1]
    average = mean_bills.mean(axis=0)
    span = max(float(average[0] - average.min()), 0.0)
    if span == 0.0:
        span = max(float(average.max() - average.min()), 1e-12)
    weighing = weigh_rows(win_rates, expected, point_usd=span)
    hull = upper_hull(average, means[0].mean(axis=0))
    total = np.zeros(n)
    worths = np.linspace(0.5, 1.0, _N_WORTHS)[:-1]
    for t in worths:
        chosen, worth = weighing.chosen(float(t)), 2.0 * t - 1.0
        fixed = hull.best_row(span / worth) if worth > 0.0 else int(hull.rows[-1])
        gained = true_scores[rows, chosen] - true_scores[:, fixed]
        paid = (bills[rows, chosen] - bills[:, fixed]) / span
        total += gained - worth * paid
    per_prompt = total / len(worths)
    error = float(per_prompt.std(ddof=1) / np.sqrt(n)) if n > 1 else np.inf
    return Evidence(float(per_prompt.mean()), error, n)
