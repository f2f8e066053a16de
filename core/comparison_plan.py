"""Which requests to compare: with what probability a prompt is drawn, so that the next steps open soon.

A comparison tells something of a step only where that step would ask the weak model. So the prompts up to some step,
the *reach*, are drawn with one probability, and those behind it rarely, as `SPREAD` of the share. Together they are
the share of the requests that may be compared. The reach grows with what is open: early on a small and safe part is
compared densely and opens soon, later the whole part that may still open.

Where nothing seems certifiable beyond a small reach, what is left of the share is spread over the rest of the prompts:
a better score is learned from those.

A plan may depend on everything that was learnt before it, and on a prompt's score: never on its answers.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.certificate import Certificate

__all__ = ["ComparisonPlan", "make_plan", "traffic_shares"]

_SPREAD = 0.03
_GROWTH = 1.5
_PRIOR = 60.0


@dataclass(frozen=True, slots=True)
class ComparisonPlan:
    """Probabilities of being compared.

    Attributes:
        reach: cells below it are drawn with probability `inside`, all others with `outside`.
        inside, outside: in (0, 1], `inside` the higher.
    """

    reach: int
    inside: float
    outside: float

    def probability(self, cell: int) -> float:
        """With which a prompt in this cell is drawn."""
        return self.inside if cell < self.reach else self.outside

    def least(self, n_steps: int) -> FloatArray:
        """The least probability of what each step sends to the weak model, shape (n_steps,)."""
        return np.where(np.arange(n_steps) < self.reach, self.inside, self.outside)


def make_plan(certificate: Certificate, share: float) -> ComparisonPlan:
    """The plan from what a certificate has learnt.

    Args:
        share: of all requests that may be compared, in (0, 1].

    Raises:
        ValueError: `share` leaves its range.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is {share}, wanted a number in (0, 1]")
    shares = traffic_shares(certificate)
    n_open = certificate.n_open
    wanted = max(share, _GROWTH * float(shares[n_open - 1]) if n_open else 0.0)
    within = int(np.searchsorted(shares, wanted))  # steps whose share is below what is wanted
    reach = min(max(within + 1, n_open + 1), max(certificate.reachable(), n_open + 1), len(shares))
    outside = _SPREAD * share
    part = float(shares[reach - 1])
    inside = float(np.clip((share - outside * (1.0 - part)) / max(part, 1e-9), outside, 1.0))
    left = (share - inside * part) / max(1.0 - part, 1e-9)
    return ComparisonPlan(reach, inside, float(np.clip(left, outside, inside)))


def traffic_shares(certificate: Certificate) -> FloatArray:
    """Share of the requests that each step sends to the weak model, from earlier ones and from the comparisons."""
    seen = np.cumsum(certificate.weights())[:-1]
    return np.asarray((_PRIOR * certificate.chain.shares + seen) / (_PRIOR + certificate.n_requests))
