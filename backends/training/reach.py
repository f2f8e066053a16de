"""How much predictions count, and how far from the labelled prompts.

Near labelled prompts they count in full, from as far away on as nearly no labelled prompt is from the others not at
all. What cross-validation bears out holds for prompts of the kinds that are labelled. On a kind that was never seen
predictions mislead, the more the more they count, and that cannot be told beforehand. So of some parts of what is borne
out the least is taken that gains within half a point as much over mixtures of single models as the best one does. Of a
pair all counts: whatever the part, the order of the prompts is the same.
"""

from dataclasses import dataclass, replace

import numpy as np

from pointsman.backends.evaluation.quality_by_dollars import threshold_curve
from pointsman.core.arrays import FloatArray
from pointsman.core.evidence import Evidence, gain_over_fixed, signal
from pointsman.core.hull import point_usd
from pointsman.core.score_models import column_means, ramp, shrunk_win_rates

__all__ = ["LeftOut", "choose_part", "reach", "worth"]

_PARTS, _ENOUGH = (0.6, 0.8, 1.0), 0.005
_NEAR, _FAR = 0.7, 0.99  # quantiles of left-out distances: up to there a prompt is covered, from there on not at all
_LEAST = (0.05, 0.15)  # and at least so far: labelled prompts that are all alike cover those that are nearly so


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Predictions for prompts that were left out, of the candidates, the first one being the reference.

    Attributes:
        predicted: scores, shape (n_prompts, n_candidates).
        usd: expected bills, same shape; None where bills are not known.
        means, mean_usd: of the prompts that were not left out, same shape.
        distances: to the prompts that were not left out, shape (n_prompts,).
    """

    predicted: FloatArray
    usd: FloatArray | None
    means: FloatArray
    mean_usd: FloatArray
    distances: FloatArray

    def win_rates(self, counts: FloatArray) -> FloatArray:
        """As they are served where predictions count so far, shape (n_prompts, n_candidates)."""
        return shrunk_win_rates(self.predicted, self.means, counts)


def worth(left_out: LeftOut, counts: FloatArray, scores: FloatArray, usd: FloatArray | None) -> Evidence:
    """The gain of choosing by these predictions, within the current reach.

    Args:
        counts: in [0, 1], shape (n_prompts, n_candidates).
        scores, usd: what came, same shape.
    """
    means = left_out.means, left_out.mean_usd
    gained = gain_over_fixed(left_out.win_rates(counts), left_out.usd, scores, usd, means)
    return replace(gained, signal=signal(left_out.predicted, scores))


def reach(distances: FloatArray) -> tuple[float, float]:
    """Distances up to which a prompt is covered, and from which on it is not at all.

    Args:
        distances: of prompts that were left out at random to the others, shape (n_prompts,).
    """
    near, far = np.quantile(distances, (_NEAR, _FAR))
    return max(float(near), _LEAST[0]), max(float(far), _LEAST[1])


def choose_part(left_out: LeftOut, shrinkage: FloatArray, scores: FloatArray, usd: FloatArray | None) -> float:
    """The part of what is borne out that is to count, see above.

    Args:
        left_out: predictions for prompts left out at random.
        shrinkage: of each candidate, shape (n_candidates,).
        scores, usd: what came, shape (n_prompts, n_candidates).
    """
    if scores.shape[1] < 3:
        return 1.0
    covered = ramp(left_out.distances, *reach(left_out.distances))[:, None] * shrinkage
    bills = np.tile(np.linspace(1.0, 0.0, scores.shape[1]), (len(scores), 1)) if usd is None else usd
    dollar = point_usd(column_means(bills), column_means(scores))
    gains = [
        threshold_curve(
            left_out.win_rates(part * covered), left_out.usd, scores, bills, point_usd=dollar
        ).gain_over_hull
        for part in _PARTS
    ]
    return next(part for part, gain in zip(_PARTS, gains, strict=True) if gain >= max(gains) - _ENOUGH)
