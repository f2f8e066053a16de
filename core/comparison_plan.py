"""Which requests to compare: with what probability a prompt is drawn, so that the next steps open soon.

A comparison tells something of a step only where that step would ask the weak model. So the prompts up to some step,
the *reach*, are drawn with one probability, and those behind it rarely, as `SPREAD` of the share. Together they are
the share of the requests that may be compared. The reach grows with what is open: early on a small and safe part is
compared densely and opens soon, later the whole part that may still open.

Where nothing seems certifiable beyond a small reach, what is left of the share is spread over the rest of the prompts:
a better score is learned from those.

A plan may depend on everything that was learnt before it, and on a prompt's score: never on its answers.
"""

from collections.abc import Sequence
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
        inside, outside: in (0, 1], `inside` the higher; of many candidates the least probability of one of a prompt's.
    """

    reach: int
    inside: float
    outside: float

    def probability(self, cell: int) -> float:
        """With which a prompt in this cell is drawn."""
        return self.inside if cell < self.reach else self.outside

    def of_rungs(self, cells: Sequence[int], most: int) -> list[float]:
        """With which each of a prompt's candidates is drawn, one at most; those within the reach share what they have.

        Args:
            cells: in which their rungs begin.
            most: how many candidates there are beside the reference.
        """
        n_inside = sum(cell < self.reach for cell in cells)
        inside, outside = self.inside * most / max(n_inside, 1), self.outside * most / max(len(cells) - n_inside, 1)
        return [inside if cell < self.reach else outside for cell in cells]

    def least(self, n_steps: int) -> FloatArray:
        """The least probability of what each step sends to the weak model, shape (n_steps,)."""
        return np.where(np.arange(n_steps) < self.reach, self.inside, self.outside)


def make_plan(certificate: Certificate, share: float, *, most: int = 1) -> ComparisonPlan:
    """The plan from what a certificate has learnt.

    Args:
        share: of all requests that may be compared, in (0, 1].
        most: how many candidates there are beside the reference.

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
    surely = 1.0 if most == 1 else 1.0 - outside  # of many, some within the reach and some behind it are one prompt's
    inside = float(np.clip((share - outside * (1.0 - part)) / max(part, 1e-9), outside, surely))
    left = float(np.clip((share - inside * part) / max(1.0 - part, 1e-9), outside, inside))
    left = left if most == 1 else min(left, 1.0 - inside)
    return ComparisonPlan(reach, inside / most, left / most)


def traffic_shares(certificate: Certificate) -> FloatArray:
    """Share of the requests that each step sends to the weak model, from earlier ones and from the comparisons."""
    seen = np.cumsum(certificate.weights())[:-1]  # as weighted, they may be more than there were
    return np.minimum((_PRIOR * certificate.chain.shares + seen) / (_PRIOR + certificate.n_requests), 1.0)
