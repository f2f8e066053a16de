"""What another router, or another threshold, would have done with logged traffic.

The log holds, per prompt, who answered (a = 1: strong), what either model costs, and for some the gain
g = strong's score - weak's, in [-1, 1]: of a judged comparison 1, 0 or -1. It was observed with a known probability p,
which may depend on who answered but, that given, not on the gain: a random share of answers was compared. A candidate
sends the same prompts to strong where b = 1. Each quality is the mean of a contrast c times the gain,

    candidate - current: c = b - a      current, candidate - always strong: c = a - 1, c = b - 1

estimated by the doubly robust mean of (S = 1 where g was observed)

    psi_i = c_i m_i + S_i c_i (g_i - m_i) / p_i

with m a linear prediction of g from the win rates, fitted on the other half of the prompts. It is unbiased for any m if
p is right. Where p = 0 nothing is known of g: these prompts count with the least and the most that it can be, -1 and 1,
so that the interval covers the truth whatever the unseen gains are. Intervals are Student's, with as many degrees of
freedom as observed prompts count, less one; differences are paired, prompt by prompt. Gains are rare: where a handful
was observed, all of them may happen to be 0. The spread is therefore that of two more observed prompts as well, one
with residual 1 and one with -1 (after Agresti and Coull 1998).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pointsman.core.arrays import FloatArray

__all__ = [
    "Estimate",
    "Figure",
    "Logged",
    "Replay",
    "compared_mean",
    "paired_figure",
    "rated_means",
    "replay",
    "student_quantile",
]

_MIN_FREEDOM = 3
_MIN_FITTED = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated mean with the ends of its interval.

    Attributes:
        value: None where only its bounds are known.
        n: prompts that it rests on.
    """

    value: float | None
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the log as it was, of the candidate, and the candidate's less the log's, paired."""

    current: Estimate
    candidate: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """Traffic that was served.

    Attributes:
        went_strong: who answered, shape (n_prompts,).
        strong_usd, weak_usd: cost of each prompt with each model, NaN where not known, shape (n_prompts,).
        gain: strong's score less weak's in [-1, 1], NaN where it was not observed, shape (n_prompts,).
        probability: with which the gain of such a prompt is observed, in [0, 1], shape (n_prompts,).
        rating: of the answer that was given, NaN where nobody rated it, shape (n_prompts,).

    Raises:
        ValueError: shapes differ, a value leaves its range, or a gain was observed with probability 0.
    """

    went_strong: NDArray[np.bool_]
    strong_usd: FloatArray
    weak_usd: FloatArray
    gain: FloatArray
    probability: FloatArray
    rating: FloatArray

    def __post_init__(self) -> None:
        shapes = {np.shape(getattr(self, name)) for name in self.__dataclass_fields__}
        if len(shapes) != 1 or self.went_strong.ndim != 1 or not self.went_strong.size:
            raise ValueError(
                f"a log's columns have shapes {sorted(shapes)}, wanted one (n_prompts,), at least one prompt"
            )
        seen = ~np.isnan(self.gain)
        if not (np.abs(self.gain[seen]) <= 1).all():
            raise ValueError("a gain leaves [-1, 1]")
        if not ((self.probability >= 0) & (self.probability <= 1)).all() or (self.probability[seen] <= 0).any():
            raise ValueError("a probability leaves [0, 1], or is 0 where a gain was observed")


@dataclass(frozen=True, slots=True)
class Replay:
    """A candidate beside the log.

    Attributes:
        n_prompts: in the log.
        agreement: share of the prompts on which both choose the same model.
        strong_share: sent to the strong model.
        cost_usd: mean cost of a prompt; None where no cost is known.
        saving_usd: mean cost less than of always asking strong; None where no cost is known.
        quality: mean score less that of always asking strong.
        n_observed: prompts whose gain was observed.
        unseen_share: prompts that change hands and whose like were never compared.
        rating: mean rating of the prompts whose model stays, and of those whose model changes; None without ratings.
    """

    n_prompts: int
    agreement: Estimate
    strong_share: Figure
    cost_usd: Figure | None
    saving_usd: Figure | None
    quality: Figure
    n_observed: int
    unseen_share: float
    rating: tuple[Estimate | None, Estimate | None] | None


def replay(
    logged: Logged, goes_strong: NDArray[np.bool_], features: FloatArray, *, confidence: float = 0.95, seed: int = 0
) -> Replay:
    """What a candidate would have done.

    Args:
        goes_strong: where the candidate sends each prompt, shape (n_prompts,).
        features: what predicts the gain, e.g. the win rates of both routers, shape (n_prompts, n_features).
        confidence: of the intervals, in (0, 1).
        seed: of the halves that the prediction is fitted on.

    Raises:
        ValueError: shapes differ, or `confidence` leaves (0, 1).
    """
    n = logged.went_strong.size
    if goes_strong.shape != (n,) or features.ndim != 2 or len(features) != n or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"goes_strong and features have shapes {goes_strong.shape} and {features.shape}, wanted ({n},) and "
            f"({n}, n_features); confidence is {confidence}, wanted a number in (0, 1)"
        )
    a, b = logged.went_strong.astype(np.float64), goes_strong.astype(np.float64)
    predicted = _predicted(logged, features, seed)

    def quality(contrast: FloatArray) -> Estimate:
        return _contrast(logged, contrast, predicted, confidence)

    costs = None
    if (~np.isnan(logged.strong_usd + logged.weak_usd)).any():
        costs = [np.where(went > 0, logged.strong_usd, logged.weak_usd) for went in (a, b)]
    return Replay(
        n_prompts=n,
        agreement=_mean((a == b).astype(np.float64), confidence),
        strong_share=paired_figure(a, b, confidence),
        cost_usd=None if costs is None else paired_figure(costs[0], costs[1], confidence),
        saving_usd=None
        if costs is None
        else paired_figure(logged.strong_usd - costs[0], logged.strong_usd - costs[1], confidence),
        quality=Figure(quality(a - 1.0), quality(b - 1.0), quality(b - a)),
        n_observed=int((~np.isnan(logged.gain)).sum()),
        unseen_share=float(((a != b) & (logged.probability == 0)).mean()),
        rating=rated_means(logged.rating, a == b, confidence),
    )


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution, by its expansion around the normal one; 1 % off at 3 degrees of freedom.

    (Abramowitz and Stegun 26.7.5)

    Raises:
        ValueError: `probability` leaves (0, 1), or there are fewer than 3 degrees of freedom.
    """
    if not 0.0 < probability < 1.0 or freedom < _MIN_FREEDOM:
        raise ValueError(f"probability is {probability}, freedom {freedom}: wanted one in (0, 1), at least 3 degrees")
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom ** (k + 1) for k, term in enumerate(terms)))


def compared_mean(
    logged: Logged, contrast: FloatArray, features: FloatArray, *, confidence: float, seed: int = 0
) -> Estimate:
    """Mean of contrast x gain, see the top of this file; the gain is predicted from `features`."""
    return _contrast(logged, contrast, _predicted(logged, features, seed), confidence)


def _contrast(logged: Logged, contrast: FloatArray, predicted: FloatArray, confidence: float) -> Estimate:
    """Mean of contrast x gain, see the top of this file."""
    seen, known = ~np.isnan(logged.gain), logged.probability > 0
    weight = np.where(seen, 1.0 / np.where(known, logged.probability, 1.0), 0.0)
    residual = np.where(seen, np.nan_to_num(logged.gain) - predicted, 0.0)
    psi = np.where(known, contrast * (predicted + weight * residual), 0.0)
    unknown = np.where(known, 0.0, np.abs(contrast))
    n_used = int((seen & (contrast != 0.0)).sum())
    reach = float(np.abs(contrast).mean())
    counted = known & (contrast != 0.0)
    if not counted.any():
        value = 0.0 if reach == 0.0 else None
        return Estimate(value, -reach, reach, n_used)
    if n_used <= _MIN_FREEDOM:
        return Estimate(None, -reach, reach, n_used)
    extra = 2.0 * float((np.abs(contrast[counted]) / logged.probability[counted]).mean()) ** 2
    low, high = (
        _interval(psi + sign * unknown, n_used - 1, confidence, extra=extra)[k] for k, sign in ((0, -1.0), (1, 1.0))
    )
    return Estimate(float(psi.mean()) if not unknown.any() else None, max(low, -reach), min(high, reach), n_used)


def _predicted(logged: Logged, features: FloatArray, seed: int) -> FloatArray:
    """Gain by a linear fit on the observed prompts of the other half, in [-1, 1]; 0 where too few were observed."""
    seen = ~np.isnan(logged.gain)
    half = np.random.default_rng(seed).permutation(seen.size) % 2 == 0
    x = np.column_stack([np.ones(seen.size), features])
    predicted = np.zeros(seen.size)
    for mine in (half, ~half):
        fitted = seen & ~mine
        if fitted.sum() >= _MIN_FITTED:
            slope = np.linalg.lstsq(x[fitted], logged.gain[fitted], rcond=None)[0]
            predicted[mine] = np.clip(x[mine] @ slope, -1.0, 1.0)
    return predicted


def paired_figure(current: FloatArray, candidate: FloatArray, confidence: float) -> Figure:
    """Means of both and of their difference, over the prompts on which they are known."""
    return Figure(_mean(current, confidence), _mean(candidate, confidence), _mean(candidate - current, confidence))


def _mean(values: FloatArray, confidence: float) -> Estimate:
    """Mean of those that are known."""
    known = values[~np.isnan(values)]
    if known.size <= _MIN_FREEDOM:
        return Estimate(float(known.mean()) if known.size else None, -math.inf, math.inf, known.size)
    low, high = _interval(known, known.size - 1, confidence)
    return Estimate(float(known.mean()), low, high, known.size)


def _interval(values: FloatArray, freedom: int, confidence: float, *, extra: float = 0.0) -> tuple[float, float]:
    """Ends of the interval of a mean; `extra` is added to the sum of squares."""
    variance = (float(((values - values.mean()) ** 2).sum()) + extra) / (values.size - 1)
    reach = student_quantile((1.0 + confidence) / 2.0, freedom) * math.sqrt(variance / values.size)
    return float(values.mean()) - reach, float(values.mean()) + reach


def rated_means(
    rating: FloatArray, same: NDArray[np.bool_], confidence: float
) -> tuple[Estimate | None, Estimate | None] | None:
    """Mean rating of the prompts whose model stays, and of the others; None without ratings."""
    if np.isnan(rating).all():
        return None
    stays, changes = (
        _mean(rating[rows], confidence) if (~np.isnan(rating[rows])).any() else None for rows in (same, ~same)
    )
    return stays, changes
