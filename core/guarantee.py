"""Thresholds with a guarantee: expected loss of quality against always asking the strong model.

    loss(t) = E[(strong - weak) 1{win_rate < t}]        what sending prompts to the weak model costs, on average

`certify_threshold` finds the cheapest threshold t with P(loss(t) <= max_loss) >= confidence, the probability being over
the draw of the labelled prompts, whatever their distribution. The one assumption is that labelled and future prompts
are drawn alike (exchangeability).

It tests thresholds in a fixed sequence (Learn then Test, Angelopoulos et al. 2021): from 0, where everything goes to
the strong model, upwards, and stops at the first that it cannot certify. All real thresholds are in that sequence, so
the first one whose loss is too high is a property of the traffic and not of the sample: passing it by mistake is the
only way to err, and has probability at most 1 - confidence.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.calibration import strong_share
from pointsman.core.loss_tests import TernaryTest, betting_p_value
from pointsman.core.metrics import check_outcomes, rank

__all__ = ["Guarantee", "certify_threshold"]

_ALL_THRESHOLDS_UP_TO = 5_000
_MAX_HELD_OUT = 1_000
_SMALLEST_STEP = 0.01


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A threshold whose expected loss is below a bound with some confidence.

    Attributes:
        threshold: strong iff win_rate >= threshold; 0 (always strong) where nothing cheaper is certified.
        max_loss: the bound on the expected loss of quality per prompt, in the unit of the scores.
        confidence: probability with which the bound holds.
        n_labels: labelled prompts that it rests on.
        strong_share: share of them that the threshold sends to the strong model.
        loss: their mean loss at the threshold.
        p_value: of the test that certified the threshold; None for always strong, which needs none.
        test: "exact" (all scores 0 or 1) or "betting".
        labels_needed: where nothing is certified, about how many labels would certify something were the losses as
            measured; the fewest that can certify anything where these are fewer and say nothing yet; None where
            something is certified, or where no number of labels would help.
    """

    threshold: float
    max_loss: float
    confidence: float
    n_labels: int
    strong_share: float
    loss: float
    p_value: float | None
    test: str
    labels_needed: int | None

    @property
    def certified(self) -> bool:
        """Whether a threshold other than always strong is certified."""
        return self.p_value is not None


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """What happens as the threshold rises past one win rate after the other; step 0 is below all of them.

    Attributes:
        threshold: highest threshold of each step, shape (n_steps,).
        n_weak: how many prompts it sends to the weak model, shape (n_steps,).
        total, square: sum of their losses and of the losses' squares, shape (n_steps,).
    """

    threshold: FloatArray
    n_weak: IntArray
    total: FloatArray
    square: FloatArray


def certify_threshold(
    win_rates: FloatArray,
    strong: FloatArray,
    weak: FloatArray,
    *,
    max_loss: float,
    confidence: float = 0.95,
    seed: int = 0,
) -> Guarantee:
    """The cheapest threshold whose expected loss is certified to be at most `max_loss`.

    Args:
        win_rates: in [0, 1], shape (n_prompts,).
        strong, weak: scores in [0, 1], shape (n_prompts,). If all are 0 or 1 they are taken for right or wrong: a
            grading must not merely look so by chance.
        max_loss: in (0, 1).
        confidence: in (0, 1).
        seed: of the order in which graded losses are bet on, and of the labels held out to choose thresholds from
            where there are more than 5,000 graded ones. Binary scores use no randomness.

    Raises:
        ValueError: shapes differ, a value leaves its range, or there is no label.
    """
    strong, weak = check_outcomes(strong, weak)
    rates = np.asarray(win_rates, dtype=np.float64)
    _check_arguments(rates, strong, weak, max_loss, confidence)
    losses = strong - weak
    steps = _steps(rates, losses)
    error = 1.0 - confidence
    binary = bool(np.isin(strong, (0.0, 1.0)).all() and np.isin(weak, (0.0, 1.0)).all())
    if binary:
        threshold, p_value = _exact_walk(steps, losses.size, max_loss, error)
    else:
        threshold, p_value = _betting_walk(rates, losses, steps.threshold, max_loss=max_loss, error=error, seed=seed)
    share = strong_share(rates, threshold)
    if share == 1.0:
        threshold, p_value = 0.0, None
    return Guarantee(
        threshold=threshold,
        max_loss=max_loss,
        confidence=confidence,
        n_labels=losses.size,
        strong_share=share,
        loss=float(losses[rates < threshold].sum() / losses.size),
        p_value=p_value,
        test="exact" if binary else "betting",
        labels_needed=_labels_needed(steps, losses.size, max_loss, error) if p_value is None else None,
    )


def _steps(rates: FloatArray, losses: FloatArray) -> _Steps:
    ranking = rank(-rates)
    ordered, values = losses[ranking.order], rates[ranking.order][ranking.starts]
    sums = [np.cumsum(np.add.reduceat(x, ranking.starts)) for x in (ordered, ordered**2)]
    total, square = (np.concatenate(([0.0], x)) for x in sums)
    if values[-1] == 1.0:  # no threshold is above it
        return _Steps(values, ranking.starts, total[:-1], square[:-1])
    return _Steps(np.append(values, 1.0), np.append(ranking.starts, rates.size), total, square)


def _exact_walk(steps: _Steps, n: int, max_loss: float, error: float) -> tuple[float, float | None]:
    """Highest threshold before the first that is not certified, and its p-value."""
    test = TernaryTest(n, max_loss, error)

    def worst(first: int, end: int) -> float:
        """At least the p-value of each of the steps first .. end - 1; the very one if there is one step only."""
        return test.p_value(float(steps.total[first:end].max()), float(steps.square[end - 1]))

    failed = _first_failure(lambda first, end: worst(first, end) <= error, len(steps.total))
    return (float(steps.threshold[failed - 1]), worst(failed - 1, failed)) if failed else (0.0, None)


def _first_failure(passes: Callable[[int, int], bool], n: int) -> int:
    """The first of n steps that fails, n if none does; `passes(first, end)` implies that all in between pass."""
    pending = [(0, n)]
    while pending:
        first, end = pending.pop()
        if passes(first, end):
            continue
        if end - first == 1:
            return first
        middle = (first + end) // 2
        pending += [(middle, end), (first, middle)]
    return n


def _betting_walk(
    rates: FloatArray, losses: FloatArray, thresholds: FloatArray, *, max_loss: float, error: float, seed: int
) -> tuple[float, float | None]:
    """As `_exact_walk`. With many labels, thresholds are the win rates of some that are held out of the test."""
    order = np.random.default_rng(seed).permutation(losses.size)
    if losses.size > _ALL_THRESHOLDS_UP_TO:
        n_held_out = min(_MAX_HELD_OUT, losses.size // 10)
        thresholds, order = np.unique(rates[order[:n_held_out]]), order[n_held_out:]
    rates, losses = rates[order], losses[order]
    reached, p_reached = 0.0, None
    for threshold in thresholds:
        p_value = betting_p_value(np.where(rates < threshold, losses, 0.0), max_loss, error=error)
        if p_value > error:
            break
        reached, p_reached = float(threshold), p_value
    return reached, p_reached


def _labels_needed(steps: _Steps, n: int, max_loss: float, error: float) -> int | None:
    """Normal approximation: n >= z^2 E[L^2] / (max_loss - E[L])^2, and enough to exclude unseen losses.

    The best step is taken among those that send at least one prompt in a hundred to the weak model.
    """
    meets = (steps.n_weak >= _SMALLEST_STEP * n) & (steps.total < max_loss * n)
    z_square = 2.0 * math.log(1.0 / error)
    if not meets.any():
        fewest = math.ceil(z_square / max_loss)
        return fewest if n < fewest else None
    mean, square = steps.total[meets] / n, steps.square[meets] / n
    return math.ceil(float((z_square * np.maximum(square, max_loss) / (max_loss - mean) ** 2).min()))


def _check_arguments(
    rates: FloatArray, strong: FloatArray, weak: FloatArray, max_loss: float, confidence: float
) -> None:
    if rates.shape != strong.shape:
        raise ValueError(f"win_rates have shape {rates.shape}, scores {strong.shape}: wanted one win rate per label")
    for name, values in (("win_rates", rates), ("strong", strong), ("weak", weak)):
        bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if bad.size:
            raise ValueError(f"{name}[{bad[0]}] is {values[bad[0]]}, wanted a number in [0, 1]")
    for name, value in (("max_loss", max_loss), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} is {value}, wanted a number between 0 and 1")
