"""What random mixtures of single models reach: the upper hull of their points in dollars and quality.

Whoever asks model a with probability p and model b otherwise gets the mean of both in cost and in quality. The best
that such mixtures reach at each cost is the upper concave hull of the models' points; a router that knows nothing of
prompts lies on it ("zero router", Hu et al. 2024), one that does lies above.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import AnyFloatArray, FloatArray, IntArray

__all__ = ["Hull", "point_usd", "upper_hull"]


@dataclass(frozen=True, slots=True, eq=False)
class Hull:
    """The models that no mixture of others beats, by rising cost and quality.

    Attributes:
        rows: of the models, shape (n_vertices,).
        usd, quality: of these, shape (n_vertices,).
    """

    rows: IntArray
    usd: FloatArray
    quality: FloatArray

    def quality_at(self, usd: AnyFloatArray) -> FloatArray:
        """Highest quality at a mean cost, same shape; NaN below the cheapest vertex, the best quality beyond the last.

        A cheaper and worse model than the cheapest vertex does not exist: vertices begin with the cheapest model.
        """
        return np.asarray(np.interp(usd, self.usd, self.quality, left=np.nan))

    @property
    def steepest_usd(self) -> float | None:
        """Dollars for a whole point of quality where it is had most cheaply: at that worth a fixed choice takes the
        cheapest model. None where one model beats all.
        """
        if len(self.rows) < 2:
            return None
        return float((self.usd[1] - self.usd[0]) / (self.quality[1] - self.quality[0]))

    def best_row(self, usd_per_quality: float) -> int:
        """Row of the vertex of highest quality - usd / usd_per_quality: what a fixed choice takes at that worth."""
        return int(self.rows[np.argmax(self.quality * usd_per_quality - self.usd)])


def upper_hull(usd: AnyFloatArray, quality: AnyFloatArray) -> Hull:
    """The hull of models' mean costs and qualities, each of shape (n_models,).

    Of equally dear models the better one counts, of equal ones the first.

    Raises:
        ValueError: shapes differ, there is no model, or a value is not finite.
    """
    usd, quality = np.asarray(usd, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if usd.ndim != 1 or usd.shape != quality.shape or not usd.size:
        raise ValueError(f"usd and quality have shapes {usd.shape} and {quality.shape}, wanted one of each per model")
    if not (np.isfinite(usd).all() and np.isfinite(quality).all()):
        raise ValueError("a cost or a quality is not finite")
    kept: list[int] = []
    for i in np.lexsort((-quality, usd)):
        if kept and quality[i] <= quality[kept[-1]]:
            continue
        while len(kept) > 1:
            (x0, y0), (x1, y1) = ((usd[k], quality[k]) for k in kept[-2:])
            if (y1 - y0) * (usd[i] - x0) > (quality[i] - y0) * (x1 - x0):
                break
            kept.pop()
        if len(kept) == 1 and usd[i] == usd[kept[0]]:
            continue
        kept.append(int(i))
    rows = np.array(kept, dtype=np.int64)
    return Hull(rows, np.asarray(usd[rows], dtype=np.float64), np.asarray(quality[rows], dtype=np.float64))


def point_usd(usd: AnyFloatArray, quality: AnyFloatArray, *, reference: int = 0) -> float | None:
    """Dollars that a whole point of quality is worth at threshold 1, so that the knob passes all of the hull.

    At that worth a fixed choice takes the cheapest model; it is at most what lies between the bills of the cheapest and
    the reference. None where all bills are equal.

    Args:
        usd, quality: mean bill and quality of each candidate, shape (n_candidates,).
        reference: row of the reference.
    """
    hull = upper_hull(usd, quality)
    least = float(np.min(usd))
    span = float(usd[reference]) - least
    if span <= 0.0:
        span = float(np.max(usd)) - least
    steepest = hull.steepest_usd
    found = span if steepest is None else min(span, steepest)
    return found if found > 0.0 else None
