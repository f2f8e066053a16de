"""How far from the labelled prompts predictions count.

Decided by two cross-validations. One leaves out prompts at random: what is gained near the labelled ones. The other
leaves out whole groups of similar prompts: what is lost on prompts of a kind that was never seen. A reach is worth what
the one gains, less what the other loses; the shortest reach within half a standard error of the best is taken.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.evidence import Evidence, gain_over_fixed
from pointsman.core.score_models import ramp, shrunk_win_rates

__all__ = ["LeftOut", "choose_reach", "worth"]

_REACHES = (0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)  # quantiles of left-out distances from which on nothing is covered
_NEAR = 0.7  # up to this part of the quantile a prompt is fully covered
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
    """What choosing by these predictions gains where they count so far.

    Args:
        counts: in [0, 1], shape (n_prompts, n_candidates).
        scores, usd: what came, same shape.
    """
    means = left_out.means, left_out.mean_usd
    return gain_over_fixed(left_out.win_rates(counts), left_out.usd, scores, usd, means)


def choose_reach(
    usual: LeftOut, grouped: LeftOut, shrinkage: FloatArray, scores: FloatArray, usd: FloatArray | None
) -> tuple[float, float]:
    """Distances up to which a prompt is covered, and from which on it is not at all.

    Args:
        usual, grouped: predictions for prompts left out at random, and in groups.
        shrinkage: of each candidate, shape (n_candidates,).
        scores, usd: what came, shape (n_prompts, n_candidates).
    """
    ends = [
        (max(float(near), _LEAST[0]), max(float(far), _LEAST[1]))
        for near, far in zip(
            np.quantile(usual.distances, [_NEAR * q for q in _REACHES]),
            np.quantile(usual.distances, _REACHES),
            strict=True,
        )
    ]

    def gains(left_out: LeftOut) -> list[Evidence]:
        parts = [np.zeros(len(scores)), *(ramp(left_out.distances, near, far) for near, far in ends)]
        return [worth(left_out, part[:, None] * shrinkage, scores, usd) for part in parts]

    (none, *near), (fixed, *unseen) = gains(usual), gains(grouped)
    values = [(a.gain - none.gain) + min(b.gain - fixed.gain, 0.0) for a, b in zip(near, unseen, strict=True)]
    best = int(np.argmax(values))
    enough = values[best] - near[best].error / 2.0
    return ends[max(i for i, value in enumerate(values) if value >= enough)]
