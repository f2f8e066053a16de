"""Quality against dollars: what a router's threshold buys, beside every single model and mixtures of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.core.arrays import AnyFloatArray, FloatArray, IntArray
from pointsman.core.choice_calibration import BEST, GRID
from pointsman.core.choice_rows import weigh_rows
from pointsman.core.hull import Hull, point_usd, upper_hull
from pointsman.core.score_models import column_means

__all__ = ["DollarCurve", "gain_interval", "length_curve", "paired_gain", "threshold_curve"]


@dataclass(frozen=True, slots=True, eq=False)
class DollarCurve:
    """A router's quality and cost at each threshold.

    Attributes:
        thresholds: shape (n_thresholds,).
        usd, quality: mean bill and score at each threshold, shape (n_thresholds,).
        quality_error: standard error of the latter.
        chosen: column of the candidate of each prompt at each threshold, shape (n_thresholds, n_prompts).
        single_usd, single_quality: of each candidate alone, shape (n_candidates,).
        hull: of these points.
    """

    thresholds: FloatArray
    usd: FloatArray
    quality: FloatArray
    quality_error: FloatArray
    chosen: IntArray
    single_usd: FloatArray
    single_quality: FloatArray
    hull: Hull

    @property
    def best(self) -> int:
        """Column of the best single candidate, the cheaper one of equals."""
        return int(self.hull.rows[-1])

    @property
    def best_usd(self) -> float:
        """Mean bill of the best single candidate."""
        return float(self.single_usd[self.best])

    @property
    def best_quality(self) -> float:
        """Its mean score."""
        return float(self.single_quality[self.best])

    @property
    def asked(self) -> np.ndarray:
        """Which thresholds a budget asks for, shape (n_thresholds,): of more than two candidates those from 1/2 on, as
        in `core.choice_calibration`.
        """
        return np.asarray((self.thresholds >= BEST) | (len(self.single_usd) <= 2))

    def quality_at(self, usd: AnyFloatArray) -> FloatArray:
        """Quality at a mean cost, between thresholds by a mixture of both; NaN below the cheapest."""
        return _between(usd, self.usd[self.asked], self.quality[self.asked], left=np.nan)

    @property
    def cost_at_best_quality(self) -> float | None:
        """Least cost at which the best single quality is reached, as a share of that model's; None if it never is."""
        reached = self.usd[self.quality >= self.best_quality - 1e-12]
        return float(reached.min()) / self.best_usd if reached.size else None

    @property
    def gain_over_hull(self) -> float:
        """Mean over evenly spaced costs up to the best single model's of quality less the hull's."""
        budgets = np.linspace(max(self.usd.min(), self.hull.usd[0]), self.best_usd, 201)
        return float(np.nanmean(self.quality_at(budgets) - self.hull.quality_at(budgets)))

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """The curve and the single models as JSON types; `asked` is the part of the prompts that each model answers."""
        asked = [np.bincount(row, minlength=len(names)) / len(row) for row in self.chosen]
        columns = zip(self.thresholds, self.usd, self.quality, self.quality_error, asked, strict=True)
        return {
            "curve": [
                {
                    "threshold": float(t),
                    "usd": float(c),
                    "quality": float(q),
                    "quality_error": float(e),
                    "asked": np.round(parts, 4).tolist(),
                }
                for t, c, q, e, parts in columns
            ],
            "singles": [
                {"model": name, "usd": float(c), "quality": float(q)}
                for name, c, q in zip(names, self.single_usd, self.single_quality, strict=True)
            ],
            "hull": [names[i] for i in self.hull.rows],
            "best_single": names[self.best],
            "gain_over_hull": self.gain_over_hull,
            "cost_at_best_quality": self.cost_at_best_quality,
            "quality_at_best_cost": float(self.quality_at(np.array([self.best_usd]))[0]),
        }


def threshold_curve(
    win_rates: FloatArray,
    expected_usd: FloatArray | None,
    scores: FloatArray,
    usd: FloatArray,
    *,
    reference: int = 0,
    point_usd: float | None = None,
    thresholds: FloatArray = GRID,
) -> DollarCurve:
    """The results of the rule of choice on prompts with known scores and bills.

    Args:
        win_rates, expected_usd: predicted, shape (n_prompts, n_candidates); bills by order alone if None or not known.
        scores, usd: what came, same shape; the candidate's mean where it is NaN.
        reference: column of the reference.
        point_usd: see `core.choice`.
    """
    if expected_usd is not None and not np.isfinite(expected_usd).all():
        expected_usd = None
    scores, usd = (np.where(np.isfinite(values), values, column_means(values)) for values in (scores, usd))
    weighing = weigh_rows(win_rates, expected_usd, reference=reference, point_usd=point_usd)
    rows = np.arange(len(scores))
    chosen = np.stack([weighing.chosen(float(t)) for t in thresholds])
    single_usd, single_quality = usd.mean(axis=0), scores.mean(axis=0)
    reached = np.stack([scores[rows, row] for row in chosen])
    return DollarCurve(
        np.asarray(thresholds, dtype=np.float64),
        np.array([usd[rows, row].mean() for row in chosen]),
        reached.mean(axis=1),
        reached.std(axis=1) / np.sqrt(len(rows)),
        chosen,
        single_usd,
        single_quality,
        upper_hull(single_usd, single_quality),
    )


def length_curve(prompts: Sequence[str], scores: FloatArray, usd: FloatArray, *, seed: int = 0) -> DollarCurve:
    """The results of choosing by the prompt's length alone: by means of five lengths on the other half of the prompts.

    Args:
        scores, usd: what came, shape (n_prompts, n_candidates), the reference first; NaN where not known.
    """
    length = np.array([len(prompt) for prompt in prompts])
    half = np.random.default_rng(seed).permutation(len(length)) % 2
    expected = np.empty((len(length), 2 * scores.shape[1]))
    known = np.concatenate([scores, usd], axis=1)
    for mine in (half == 0, half == 1):
        other = ~mine
        edges = np.quantile(length[other], [0.2, 0.4, 0.6, 0.8])
        bins, whole = np.searchsorted(edges, length), column_means(known[other])
        for b in range(5):
            means = column_means(known[other & (bins == b)])
            expected[mine & (bins == b)] = np.where(np.isfinite(means), means, whole)
    predicted, bills = np.split(expected, 2, axis=1)
    rates = np.clip(0.5 + (predicted[:, [0]] - predicted) / 2.0, 0.0, 1.0)
    return threshold_curve(rates, bills, scores, usd, point_usd=point_usd(column_means(usd), column_means(scores)))


def gain_interval(
    curve: DollarCurve, scores: FloatArray, usd: FloatArray, *, n_replicates: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals, prompts resampled for router and single models alike.

    Of `gain_over_hull`, `cost_at_best_quality` (never reached counts as 1), and the quality at the best single model's
    cost less that model's.
    """
    scores, usd = (np.where(np.isfinite(values), values, column_means(values)) for values in (scores, usd))
    rows = np.arange(len(scores))
    routed = np.stack([scores[rows, row] for row in curve.chosen]), np.stack([usd[rows, row] for row in curve.chosen])
    found: dict[str, list[float]] = {"gain_over_hull": [], "cost_at_best_quality": [], "gain_at_best_cost": []}
    for _ in range(n_replicates):
        weight = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows)) / len(rows)
        singles = weight @ usd, weight @ scores
        drawn = DollarCurve(
            curve.thresholds,
            routed[1] @ weight,
            routed[0] @ weight,
            curve.quality_error,
            curve.chosen,
            *singles,
            upper_hull(*singles),
        )
        cost = drawn.cost_at_best_quality
        found["gain_over_hull"].append(drawn.gain_over_hull)
        found["cost_at_best_quality"].append(1.0 if cost is None else cost)
        found["gain_at_best_cost"].append(float(drawn.quality_at(np.array([drawn.best_usd]))[0]) - drawn.best_quality)
    ends = {name: np.quantile(values, [0.025, 0.975]) for name, values in found.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def paired_gain(
    curve: DollarCurve,
    other: DollarCurve,
    scores: FloatArray,
    usd: FloatArray,
    *,
    n_replicates: int,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Quality of a curve less that of another on the same prompts and candidates, with its 95 % bootstrap interval.

    The mean over evenly spaced costs from where both begin up to the best single model's.

    Args:
        scores, usd: what came, in the columns of the curves, NaN where not known.
    """
    scores, usd = (np.where(np.isfinite(values), values, column_means(values)) for values in (scores, usd))
    rows = np.arange(len(scores))
    routed = [
        np.stack([values[rows, row] for row in c.chosen[c.asked]]) for c in (curve, other) for values in (usd, scores)
    ]

    def gain(weight: FloatArray) -> float:
        (usd_a, quality_a, usd_b, quality_b), best = [values @ weight for values in routed], usd[:, curve.best] @ weight
        budgets = np.linspace(min(max(usd_a.min(), usd_b.min()), best), best, 201)
        gained = _between(budgets, usd_a, quality_a) - _between(budgets, usd_b, quality_b)
        return float(gained.mean())

    n = len(rows)
    drawn = [gain(np.bincount(rng.integers(0, n, n), minlength=n) / n) for _ in range(n_replicates)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return gain(np.full(n, 1.0 / n)), float(low), float(high)


def _between(usd: AnyFloatArray, bills: FloatArray, quality: FloatArray, *, left: float | None = None) -> FloatArray:
    """Quality at a mean cost from points of both, in between by a mixture of two."""
    order = np.lexsort((quality, bills))
    return np.asarray(np.interp(usd, bills[order], quality[order], left=left))
