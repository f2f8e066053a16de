"""The rule of `core.choice` for many prompts at once: for evaluation, calibration and replay."""

import numpy as np

from pointsman.core.arrays import AnyFloatArray, FloatArray, IntArray
from pointsman.core.choice import MOST, Candidate, turning_point

__all__ = ["Weighing", "turning_points", "weigh_rows"]


class Weighing:
    """Prompts whose candidates are weighed, all of them able to answer.

    Attributes:
        relative_bills: r, shape (n_prompts, n_candidates).
    """

    def __init__(
        self, win_rates: AnyFloatArray, usd: AnyFloatArray | None, *, reference: int, point_usd: float | None
    ) -> None:
        """See `weigh_rows`."""
        w = np.array(win_rates, dtype=np.float64)
        shapes = [w.shape] if usd is None else [w.shape, np.asarray(usd).shape]
        if w.ndim != 2 or shapes[-1] != w.shape:
            raise ValueError(f"win_rates and usd have shapes {shapes}, wanted (n_prompts, n_candidates)")
        if not 0 <= reference < w.shape[1]:
            raise ValueError(f"reference is column {reference} of {w.shape[1]} candidates")
        w[:, reference] = 0.5
        self._w, self._reference = w, reference
        self.relative_bills, self._dearness = _bills(w.shape, usd, reference)
        self._weight = np.ones((len(w), 1))
        if point_usd and usd is not None and w.shape[1] > 2:
            span = self._dearness[:, [reference]] - self._dearness.min(axis=1, keepdims=True)
            self._weight = np.minimum(span / point_usd, MOST)
        dearer = self._dearness[:, :, None] > self._dearness[:, None, :]
        no_better = w[:, :, None] >= w[:, None, :]
        self._left_out = np.asarray((dearer & no_better).any(axis=2))
        self._left_out[:, reference] = False

    def chosen(self, threshold: float) -> IntArray:
        """Column of the chosen candidate of each prompt, shape (n_prompts,).

        Raises:
            ValueError: `threshold` leaves [0, 1].
        """
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}, wanted a number in [0, 1]")
        n_prompts, n_candidates = self._w.shape
        if threshold == 0.0:
            return np.full(n_prompts, self._reference, dtype=np.int64)
        r = (np.minimum(self.relative_bills, 1.0) if threshold < 0.5 else self.relative_bills) * self._weight
        scores = np.where(self._left_out, np.inf, self._w - r / 2.0 + threshold * r)
        is_reference = np.broadcast_to(np.arange(n_candidates) == self._reference, self._w.shape)
        chosen = _first(scores, -self._dearness, ~is_reference)
        if threshold == 1.0:
            cheapest = _first(self._dearness, self._w, ~is_reference)
            sure = self._w[np.arange(n_prompts), cheapest] < 1.0
            chosen[sure] = cheapest[sure]
        return chosen


def weigh_rows(
    win_rates: AnyFloatArray, usd: AnyFloatArray | None, *, reference: int = 0, point_usd: float | None = None
) -> Weighing:
    """Weighs every prompt's candidates.

    Args:
        win_rates: of the reference over every candidate, shape (n_prompts, n_candidates).
        usd: expected bills, same shape; None where a price is not known: the first candidate is then the dearest.
        reference: column of the reference.
        point_usd: see `core.choice.choose`.

    Raises:
        ValueError: shapes differ, or `reference` is not a column.
    """
    return Weighing(win_rates, usd, reference=reference, point_usd=point_usd)


def turning_points(
    win_rates: AnyFloatArray,
    usd: AnyFloatArray | None,
    *,
    levels: AnyFloatArray,
    reference: int = 0,
    point_usd: float | None = None,
) -> FloatArray:
    """Turning point of each prompt at its own level, see `core.choice.turning_point`, shape (n_prompts,).

    With levels drawn uniformly from (0, 1] they are to a share what win rates are for a pair: the share at threshold t
    is about the part of them that is at least t.
    """
    found = np.empty(len(win_rates))
    names = [str(i) for i in range(np.shape(win_rates)[1])]
    bills = [[None] * len(names)] * len(found) if usd is None else np.asarray(usd, dtype=np.float64).tolist()
    for i, (rates, row) in enumerate(zip(np.asarray(win_rates, dtype=np.float64).tolist(), bills, strict=True)):
        field = [Candidate(*candidate) for candidate in zip(names, rates, row, strict=True)]
        point = turning_point(field, field[reference], level=float(levels[i]), point_usd=point_usd)
        found[i] = 0.0 if point is None else point
    return found


def _bills(shape: tuple[int, ...], usd: AnyFloatArray | None, reference: int) -> tuple[FloatArray, FloatArray]:
    """Relative bills, and what tells which of two candidates is dearer; both of shape (n_prompts, n_candidates)."""
    n_candidates = shape[1]
    if n_candidates == 2 or usd is None:
        rank = np.empty(n_candidates)
        rank[reference] = n_candidates - 1
        rank[np.arange(n_candidates) != reference] = np.arange(n_candidates - 2, -1, -1)
        r = np.tile(rank / max(n_candidates - 1, 1), (shape[0], 1))
        return r, r
    bills = np.asarray(usd, dtype=np.float64)
    least, most = bills.min(axis=1, keepdims=True), bills[:, [reference]]
    scale = np.where(most > least, most - least, 1.0)
    with np.errstate(over="ignore"):
        return np.where(most > least, np.minimum((bills - least) / scale, MOST), 0.0), bills


def _first(*keys: np.ndarray) -> IntArray:
    """Column of each row's least value of the first key, of the second among equals, and so on; then the first."""
    left = np.ones(keys[0].shape, dtype=bool)
    for key in keys:
        values = np.where(left, key, np.inf)
        left &= values == values.min(axis=1, keepdims=True)
    return np.asarray(np.argmax(left, axis=1), dtype=np.int64)
