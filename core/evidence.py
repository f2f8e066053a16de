"""Whether predictions of scores are worth acting on: cross-validated, against the models' own means.

All that is asked here is asked of predictions for prompts that the predictor had not seen.

    shrinkage  b_i, mean over j of the least-squares slope of the true difference s_i - s_j on the predicted one, both
               less their means, times 1 - (the slope's squared error / its square), within [0, 1]
    gain       mean over worths t in [1/2, 1] of score - (2t - 1) r at what the rule chooses, less the same at the
               best fixed model: per prompt, so that its standard error is that of a mean
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.choice_rows import weigh_rows
from pointsman.core.hull import upper_hull

__all__ = ["Evidence", "gain_over_fixed", "shrinkage"]

_N_WORTHS = 26
_Z = 1.645  # standard errors by which the gain must exceed zero: 95 %, one-sided


@dataclass(frozen=True, slots=True)
class Evidence:
    """What choosing by prompt gains over a fixed choice of models.

    Attributes:
        gain: in score, relative bills paid for at the worths of the knob.
        error: its standard error.
        n_prompts: how many it was measured on.
    """

    gain: float
    error: float
    n_prompts: int

    @property
    def trusted(self) -> bool:
        """Whether the gain is above zero by 1.645 standard errors."""
        return self.gain > _Z * self.error


def shrinkage(predicted: FloatArray, scores: FloatArray) -> FloatArray:
    """How far a model's predicted scores count beyond their mean, in [0, 1], shape (n_models,).

    Args:
        predicted: for prompts that were not seen, shape (n_prompts, n_models).
        scores: what they scored, NaN where not known, same shape.
    """
    n_models = scores.shape[1]
    found = np.zeros(n_models)
    for i in range(n_models):
        difference, true = predicted[:, [i]] - predicted, scores[:, [i]] - scores
        known = np.isfinite(true) & np.isfinite(difference)
        n = known.sum(axis=0)

        def centred(values: FloatArray, known: np.ndarray = known, n: IntArray = n) -> FloatArray:
            filled = np.where(known, values, 0.0)
            return np.where(known, filled - filled.sum(axis=0) / np.maximum(n, 1), 0.0)

        x, y = centred(difference), centred(true)
        square = (x**2).sum(axis=0)
        able = (n > 2) & (square > 1e-12)
        slope = np.where(able, (x * y).sum(axis=0) / np.where(able, square, 1.0), 0.0)
        residual = ((y - slope * x) ** 2).sum(axis=0) / np.maximum(n - 2, 1)
        error = np.where(able, residual / np.where(able, square, 1.0), 0.0)
        kept = 1.0 - error / np.where(slope > 0, slope**2, np.inf)
        by_pair = np.where(slope > 0, np.clip(slope * np.maximum(kept, 0.0), 0.0, 1.0), 0.0)
        found[i] = by_pair.sum() / max(n_models - 1, 1)
    return found


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
