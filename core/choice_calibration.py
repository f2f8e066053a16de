"""Thresholds of the choice among many candidates that mean something: a share, a budget of dollars, a bound on loss.

    share(t) = mean over prompts of r(chosen), at most 1     how far the bills go from the cheapest to the reference
    usd(t)   = mean bill of what is chosen
    loss(t)  = E[score of the reference - score of what is chosen]

Thresholds are tried on a fixed grid. The bound on loss is tested as in `core.guarantee`: from 0, where everything goes
to the reference, upwards, up to the first that cannot be certified; since the grid does not depend on the labels, a
wrong one is certified with probability at most 1 - confidence.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.choice_rows import Weighing
from pointsman.core.loss_tests import TernaryTest, betting_p_value

__all__ = ["BEST", "GRID", "CertifiedChoice", "certify_choice", "share_at", "threshold_for_share", "threshold_for_usd"]

BEST = 0.5  # at this threshold what is expected to be best is chosen, whatever it costs
GRID = np.concatenate([np.linspace(0.0, BEST, 26)[:-1], 0.75 - 0.25 * np.cos(np.linspace(0.0, np.pi, 151))])


@dataclass(frozen=True, slots=True)
class CertifiedChoice:
    """A threshold whose expected loss against the reference is below a bound with some confidence.

    Attributes:
        threshold: 0 (always the reference) where nothing cheaper is certified.
        loss: mean loss of the labelled prompts at the threshold.
        p_value: of the test that certified it; None for always the reference, which needs none.
        test: "exact" (all scores 0 or 1) or "betting".
        n_labels: labelled prompts that it rests on.
    """

    threshold: float
    loss: float
    p_value: float | None
    test: str
    n_labels: int

    @property
    def certified(self) -> bool:
        """Whether a threshold other than always the reference is certified."""
        return self.p_value is not None


def share_at(weighing: Weighing, threshold: float) -> float:
    """Mean share of the way from the cheapest bill to the reference's."""
    chosen = weighing.chosen(threshold)
    return float(np.minimum(weighing.relative_bills[np.arange(len(chosen)), chosen], 1.0).mean())


def threshold_for_share(weighing: Weighing, share: float) -> float:
    """Lowest threshold from which on the mean share is at most `share`, in [0, 1].

    Raises:
        ValueError: `share` leaves [0, 1], or even threshold 1 exceeds it.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}, wanted a number in [0, 1]")
    return _lowest([share_at(weighing, float(t)) for t in GRID], share, "share")


def threshold_for_usd(weighing: Weighing, usd: FloatArray, max_usd: float) -> float:
    """Lowest threshold from which on the mean bill is at most `max_usd`; of more than two candidates at least `BEST`,
    as whatever is spent beyond it is expected to buy nothing.

    Args:
        usd: bills of every candidate on every prompt, shape (n_prompts, n_candidates).

    Raises:
        ValueError: even threshold 1 costs more.
    """
    rows = np.arange(len(usd))
    found = _lowest([float(usd[rows, weighing.chosen(float(t))].mean()) for t in GRID], max_usd, "max_usd")
    return found if usd.shape[1] <= 2 else max(found, BEST)


def certify_choice(
    weighing: Weighing, scores: FloatArray, *, reference: int = 0, max_loss: float, confidence: float, seed: int = 0
) -> CertifiedChoice:
    """The highest threshold whose expected loss against the reference is certified to be at most `max_loss`.

    Args:
        scores: of every candidate on every prompt, in [0, 1], shape (n_prompts, n_candidates).
        reference: its column.
        max_loss, confidence: in (0, 1).
        seed: of the order in which graded losses are bet on.

    Raises:
        ValueError: shapes differ, a value leaves its range, or there is no label.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != weighing.relative_bills.shape or not len(values):
        raise ValueError(f"scores have shape {values.shape}, wanted {weighing.relative_bills.shape}, one row at least")
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError("a score leaves [0, 1]")
    for name, value in (("max_loss", max_loss), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} is {value}, wanted a number between 0 and 1")
    n, error = len(values), 1.0 - confidence
    rows, order = np.arange(n), np.random.default_rng(seed).permutation(n)
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    exact = TernaryTest(n, max_loss, error)
    found = CertifiedChoice(0.0, 0.0, None, "exact" if binary else "betting", n)
    for threshold in GRID[1:].tolist():
        losses = values[:, reference] - values[rows, weighing.chosen(threshold)]
        if binary:
            p_value = exact.p_value(float(losses.sum()), float(np.abs(losses).sum()))
        else:
            p_value = betting_p_value(losses[order], max_loss, error=error)
        if p_value > error:
            break
        found = CertifiedChoice(threshold, float(losses.mean()), p_value, found.test, n)
    return found


def _lowest(values: list[float], most: float, name: str) -> float:
    """The first threshold of the grid from which on all values are at most `most`."""
    above = np.flatnonzero(np.array(values) > most * (1.0 + 1e-12))
    if not above.size:
        return 0.0
    if above[-1] == len(GRID) - 1:
        raise ValueError(f"{name} is {most:.6g}, but the cheapest candidates take {values[-1]:.6g}: raise it")
    return float(GRID[above[-1] + 1])
