"""Generations: a score of prompts, the certificate on it, and what people are told of it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Self, TypeAlias

from pointsman.core.arrays import Float32Array
from pointsman.core.certificate import Certificate
from pointsman.core.comparison_plan import ComparisonPlan, traffic_shares
from pointsman.core.ladder import Rung, ladder, length_shift
from pointsman.core.learned_candidates import LearnedCandidates
from pointsman.core.learned_score import LearnedScore

__all__ = ["Generation", "Learned", "describe_generation", "learned_from", "rungs_of"]

Learned: TypeAlias = LearnedScore | LearnedCandidates
_ladder = lru_cache(maxsize=1024)(ladder)  # a request's are wanted to choose, to draw, and to make a chain


@dataclass(slots=True)
class Generation:
    """A score and the certificate on it.

    Attributes:
        number: 0, 1, 2, ...; says what of the error it may spend.
        router: identity of the router that scores, or whose reading is scored.
        checkpoint: name of its checkpoint; None where it has none.
        began_at: seconds since 1970.
        certificate: None until the chain is made, from the scores of its first requests.
        plan: what its comparisons are drawn by.
        closed: why nothing of it counts any more; None while it does.
        planned_at: comparisons that the plan was made after.
        learned: the score that was learned, of more than two candidates the win rates; None where it is the router's.
        trained_on: comparisons that it was learned from.
        beside: whether it is certified beside the one that serves.
        served_at: when it began to serve; None if it never has.
        bills: of more than two candidates each model with its relative bill, the reference first; fixed, so that a
            threshold is one policy whatever bills come to be. Empty for a pair.
    """

    number: int
    router: str
    checkpoint: str | None
    began_at: float
    certificate: Certificate | None = None
    plan: ComparisonPlan | None = None
    closed: str | None = None
    planned_at: int = 0
    learned: Learned | None = None
    trained_on: int = 0
    beside: bool = False
    served_at: float | None = None
    bills: tuple[tuple[str, float], ...] = ()

    @property
    def most(self) -> int:
        """How many models there are beside the strong one."""
        return max(len(self.bills) - 1, 1)

    @property
    def threshold(self) -> float:
        """Strong iff the score is at least this; minus infinity while nothing is certified."""
        return -math.inf if self.certificate is None or self.closed else self.certificate.threshold

    @property
    def saving(self) -> float:
        """Share of what asking the strong model for everything costs that is certified to be saved, about."""
        if self.certificate is None or not self.share:
            return 0.0
        return self.share * self.certificate.gain(self.certificate.n_open - 1)

    @property
    def share(self) -> float:
        """Share of the traffic that is certified for the weak model."""
        if self.certificate is None or self.closed or not self.certificate.n_open:
            return 0.0
        return float(traffic_shares(self.certificate)[self.certificate.n_open - 1])

    def score(self, win_rate: float, n_characters: int, embedding: Float32Array | None) -> float | None:
        """Of a prompt, by what its router read; None where it cannot be told. What is surely strong's stays so."""
        if not isinstance(self.learned, LearnedScore) or win_rate >= 1.0:
            return win_rate
        return self.learned.one(win_rate, n_characters, embedding)

    def rungs(
        self, win_rates: tuple[float, ...] | None, n_characters: int, embedding: Float32Array | None
    ) -> tuple[Rung, ...]:
        """Of a prompt among more than two candidates: whom each threshold sends it to; none where it cannot be told."""
        return rungs_of(self.learned, self.bills, win_rates, n_characters, embedding)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        names = ("number", "router", "checkpoint", "began_at", "closed", "planned_at", "trained_on", "beside")
        return {
            **{name: getattr(self, name) for name in (*names, "served_at")},
            "bills": [list(each) for each in self.bills],
            "plan": None if self.plan is None else [self.plan.reach, self.plan.inside, self.plan.outside],
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "learned": None if self.learned is None else self.learned.to_dict(),
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        plan = None if kept["plan"] is None else ComparisonPlan(*kept["plan"])
        certificate = None if kept["certificate"] is None else Certificate.from_dict(kept["certificate"])
        learned = learned_from(kept.get("learned"))
        bills = tuple((name, bill) for name, bill in kept.get("bills", ()))
        return cls(**{**kept, "plan": plan, "certificate": certificate, "learned": learned, "bills": bills})


def learned_from(kept: Any) -> Learned | None:
    """What `to_dict` of a learned score gave; None of None.

    Raises:
        ValueError: it is damaged.
    """
    if kept is None:
        return None
    return LearnedCandidates.from_dict(kept) if isinstance(kept, list) else LearnedScore.from_dict(kept)


def rungs_of(
    learned: Learned | None,
    bills: Sequence[tuple[str, float]],
    win_rates: tuple[float, ...] | None,
    n_characters: int,
    embedding: Float32Array | None,
) -> tuple[Rung, ...]:
    """See `Generation.rungs`; `win_rates` are the router's."""
    shift = length_shift(n_characters)
    if isinstance(learned, LearnedCandidates) and win_rates is not None:
        win_rates, shift = learned.win_rates(win_rates, n_characters, embedding), 0.0  # it knows the length
    return () if win_rates is None else _ladder(win_rates, tuple([bill for _, bill in bills]), shift=shift)


def describe_generation(generation: Generation, compare: float, *, serving: bool = False) -> dict[str, Any]:
    """A generation as JSON types: what it has certified, how sure its loss is, and what opens next."""
    certificate = generation.certificate
    facts: dict[str, Any] = {
        "number": generation.number,
        "role": _role(generation, serving=serving),
        "checkpoint": generation.checkpoint,
        "score": "win rate" if generation.learned is None else "learned",
        "trained_on": generation.trained_on,
        "began_at": generation.began_at,
        "served_at": generation.served_at,
        "closed": generation.closed,
        "certified_share": round(generation.share, 4),
        "threshold": None,
        "loss": None,
        "next": None,
    }
    if certificate is None:
        return facts
    shares, n_open = traffic_shares(certificate), certificate.n_open
    facts |= {
        "error": certificate.error, "max_loss": certificate.max_loss, "n_requests": certificate.n_requests,
        "n_compared": certificate.n_compared, "steps": len(certificate.chain), "steps_open": n_open,
    }  # fmt: skip
    if n_open and not generation.closed:
        facts |= {"threshold": certificate.threshold, "loss": asdict(certificate.estimate(n_open - 1))}
    if n_open < len(certificate.chain) and not generation.closed:
        facts["next"] = _next(certificate, shares.tolist(), compare)
    return facts


def _role(generation: Generation, *, serving: bool) -> str:
    if generation.closed:
        return "void"
    return "serving" if serving else "beside" if generation.beside else "kept"


def _next(certificate: Certificate, shares: Sequence[float], compare: float) -> dict[str, Any]:
    n_open = certificate.n_open
    needed = certificate.requests_needed(n_open) if certificate.n_requests else None
    return {
        "share": round(shares[n_open], 4),
        "wealth": round(math.exp(min(float(certificate.log_wealth[n_open]), 700.0)), 4),
        "wanted": round(math.exp(certificate.wanted), 4),
        "loss": asdict(certificate.estimate(n_open)),
        "requests": needed,
        "comparisons": None if needed is None else max(1, round(needed * compare)),
    }
