"""What all processes share of the autopilot: generations with their certificates, totals, and what happened when.

It is one fact in the store, changed in transactions alone: whatever counts comparisons or requests into it counts each
once, whichever process does it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Self

import numpy as np

from pointsman.core.certificate import Certificate, generation_error, make_chain
from pointsman.core.comparison_plan import ComparisonPlan, make_plan, traffic_shares
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.store.rows import AutopilotRow

__all__ = ["AutopilotState", "Counts", "Generation", "describe_generation"]

_MAX_EVENTS = 200
_KEPT = 8  # generations whose certificates are kept, for a rollback
_REPLAN_EVERY = 20


@dataclass(slots=True)
class Counts:
    """What a process has seen since its last report.

    Attributes:
        n_requests: under the certificate's threshold; n_weak of them were answered by the weak model.
        saved_usd: against asking the strong model for as many tokens; n_unpriced of them could not be priced.
        n_failed: comparisons that failed; n_over_budget, n_busy: that were not made.
    """

    n_requests: int = 0
    n_weak: int = 0
    saved_usd: float = 0.0
    n_unpriced: int = 0
    n_failed: int = 0
    n_over_budget: int = 0
    n_busy: int = 0

    def add(self, other: "Counts") -> None:
        """Adds another's."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(slots=True)
class Generation:
    """A router and the certificate on its scores.

    Attributes:
        number: 0, 1, 2, ...; says what of the error it may spend.
        router: identity of the router that scores.
        checkpoint: name of its checkpoint; None where it has none.
        began_at: seconds since 1970.
        certificate: None until the chain is made, from the scores of its first requests.
        plan: what its comparisons are drawn by.
        closed: why nothing of it counts any more; None while it does.
        planned_at: comparisons that the plan was made after.
    """

    number: int
    router: str
    checkpoint: str | None
    began_at: float
    certificate: Certificate | None = None
    plan: ComparisonPlan | None = None
    closed: str | None = None
    planned_at: int = 0

    @property
    def threshold(self) -> float:
        """Strong iff the score is at least this; minus infinity while nothing is certified."""
        return -math.inf if self.certificate is None or self.closed else self.certificate.threshold

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        plan = None if self.plan is None else [self.plan.reach, self.plan.inside, self.plan.outside]
        certificate = None if self.certificate is None else self.certificate.to_dict()
        names = ("number", "router", "checkpoint", "began_at", "closed", "planned_at")
        return {**{name: getattr(self, name) for name in names}, "plan": plan, "certificate": certificate}

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        plan = None if kept["plan"] is None else ComparisonPlan(*kept["plan"])
        certificate = None if kept["certificate"] is None else Certificate.from_dict(kept["certificate"])
        return cls(**{**kept, "plan": plan, "certificate": certificate})


@dataclass(slots=True)
class AutopilotState:
    """See above.

    Attributes:
        terms: digest of what a certificate rests on: models, judge, bound and confidence.
        paused: why comparisons are paused; None if they are not. The certified threshold stays in use.
        generations: the last is the one that serves, those before it are history.
        counts: of all processes.
        n_compared, n_agreed, compared_usd: comparisons, those with one verdict in both orders, and their dollars.
        events: `{"at", "what", ...}`, the oldest first.
        alarm: of drift that was heeded last.
    """

    terms: str
    paused: str | None = None
    generations: list[Generation] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    n_compared: int = 0
    n_agreed: int = 0
    compared_usd: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)
    alarm: str | None = None

    @property
    def current(self) -> Generation | None:
        """The generation that serves."""
        return self.generations[-1] if self.generations else None

    def serve(self, router: str, checkpoint: str | None, terms: str, now: float) -> None:
        """Has the generation of a router serve: the one it had, after a rollback, or a new one.

        Under changed terms everything starts over, except that the error already used stays used.
        """
        if terms != self.terms:
            self.terms = terms
            self.close("models, judge or bound have changed", now)
        current = self.current
        if current is not None and current.router == router and not current.closed:
            return
        kept = [g for g in self.generations if g.router == router and not g.closed]
        if kept:
            self.generations.remove(kept[-1])
            self.generations.append(kept[-1])
            self.note("rolled back", now, generation=kept[-1].number)
            return
        number = 1 + max((g.number for g in self.generations), default=-1)
        self.generations.append(Generation(number, router, checkpoint, now))
        for old in self.generations[:-_KEPT]:
            old.certificate = old.plan = None
            old.closed = old.closed or "superseded"
        self.note("generation began", now, generation=number, checkpoint=checkpoint)

    def close(self, why: str, now: float) -> None:
        """Voids every certificate: everything is strong until a new generation has earned something."""
        for generation in self.generations:
            if not generation.closed:
                generation.closed = why
                self.note("closed", now, generation=generation.number, why=why)

    def begin_chain(self, number: int, scores: Sequence[float], config: AutopilotConfig, now: float) -> None:
        """Makes the chain of a generation from the scores of earlier requests, if it has none yet."""
        current = self.current
        if current is None or current.number != number or current.certificate is not None or current.closed:
            return
        error = generation_error(1.0 - config.confidence, number)
        chain = make_chain(np.array(scores), highest=1.0)
        current.certificate = Certificate(chain, max_loss=config.max_loss, error=error)
        current.plan = make_plan(current.certificate, config.compare)
        self.note("chain made", now, generation=number, steps=len(chain))

    def count(self, rows: Sequence[AutopilotRow], config: AutopilotConfig, now: float) -> None:
        """Adds comparisons to the certificates of their generations."""
        by_number = {g.number: g for g in self.generations}
        for (number, plan), group in groupby(rows, key=lambda row: (row.generation, row.plan)):
            same = list(group)
            self.n_compared += len(same)
            self.n_agreed += sum(row.agreed for row in same)
            self.compared_usd += sum(row.cost_usd for row in same)
            generation = by_number.get(number)
            if generation is None or generation.closed or generation.certificate is None:
                continue
            certificate, before = generation.certificate, generation.certificate.n_open
            _add(certificate, same, ComparisonPlan(*plan))
            opened = certificate.n_open > before
            if opened:
                share = float(traffic_shares(certificate)[certificate.n_open - 1])
                self.note("opened", now, generation=number, steps=certificate.n_open, share=round(share, 4))
            if opened or certificate.n_compared - generation.planned_at >= _REPLAN_EVERY:
                generation.plan = make_plan(certificate, config.compare)
                generation.planned_at = certificate.n_compared

    def note(self, what: str, now: float, **more: Any) -> None:
        """Remembers an event."""
        self.events = [*self.events, {"at": round(now, 3), "what": what, **more}][-_MAX_EVENTS:]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        names = ("terms", "paused", "n_compared", "n_agreed", "compared_usd", "events", "alarm")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "counts": asdict(self.counts), "generations": [g.to_dict() for g in self.generations]}

    @classmethod
    def from_dict(cls, kept: dict[str, Any] | None) -> Self:
        """What `to_dict` gave; a new one where there is none.

        Raises:
            ValueError: it is damaged.
        """
        if kept is None:
            return cls("")
        try:
            generations = [Generation.from_dict(each) for each in kept["generations"]]
            return cls(**{**kept, "counts": Counts(**kept["counts"]), "generations": generations})
        except (KeyError, TypeError) as error:
            raise ValueError(f"the state of the autopilot is damaged: {error}") from error


def _add(certificate: Certificate, rows: Sequence[AutopilotRow], plan: ComparisonPlan) -> None:
    def column(values: Iterable[float]) -> np.ndarray:
        return np.array(list(values), dtype=np.float64)

    certificate.add_many(
        column(row.score for row in rows),
        column(row.loss for row in rows),
        probabilities=column(row.probability for row in rows),
        least=plan.least(len(certificate.chain)),
        n_undrawn=np.array([row.n_undrawn for row in rows], dtype=np.int64),
    )


def describe_generation(generation: Generation, compare: float) -> dict[str, Any]:
    """A generation as JSON types: what it has certified, how sure its loss is, and what opens next."""
    certificate = generation.certificate
    facts: dict[str, Any] = {
        "number": generation.number,
        "checkpoint": generation.checkpoint,
        "began_at": generation.began_at,
        "closed": generation.closed,
        "certified_share": 0.0,
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
        facts |= {
            "certified_share": round(float(shares[n_open - 1]), 4), "threshold": certificate.threshold,
            "loss": asdict(certificate.estimate(n_open - 1)),
        }  # fmt: skip
    if n_open < len(certificate.chain) and not generation.closed:
        needed = certificate.requests_needed(n_open) if certificate.n_requests else None
        facts["next"] = {
            "share": round(float(shares[n_open]), 4),
            "wealth": round(math.exp(min(float(certificate.log_wealth[n_open]), 700.0)), 4),
            "wanted": round(math.exp(certificate.wanted), 4),
            "loss": asdict(certificate.estimate(n_open)),
            "requests": needed,
            "comparisons": None if needed is None else max(1, round(needed * compare)),
        }
    return facts
