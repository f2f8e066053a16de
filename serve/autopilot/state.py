"""What all processes share of the autopilot: generations with their certificates, totals, and what happened when.

It is one fact in the store, changed in transactions alone: whatever counts comparisons or requests into it counts each
once, whichever process does it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Self

import numpy as np

from pointsman.core.autopilot import JointPlan
from pointsman.core.certificate import Certificate, generation_error
from pointsman.core.comparison_plan import ComparisonPlan, make_plan
from pointsman.core.judge_bias import largest_corrected_loss
from pointsman.core.threshold_chain import make_chain
from pointsman.serve.autopilot.counting import add_comparisons, plans_of
from pointsman.serve.autopilot.counts import Counts
from pointsman.serve.autopilot.days import add_to_day
from pointsman.serve.autopilot.generation import Generation, Learned, learned_from
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.store.rows import AutopilotRow

__all__ = ["AutopilotState"]

_MAX_EVENTS = 200
_KEPT = 8  # generations whose certificates are kept, for a rollback
_REPLAN_EVERY = 20
_HEARD_S = 60.0  # a configuration that no process has told for so long is nobody's any more
_LABELS = 1000  # pairs of judged and labelled losses that are kept, to show the judge's bias


@dataclass(slots=True)
class AutopilotState:
    """See above.

    Attributes:
        terms: digest of what a certificate rests on: models, judge, bound and confidence.
        paused: why comparisons are paused; None if they are not. The certified threshold stays in use.
        generations: by number; those that neither serve nor run beside are history.
        serving: number of the generation that serves; None before there is one.
        counts: of all processes.
        n_compared, n_agreed, compared_usd: comparisons, those with one verdict in both orders, and their dollars.
        n_since: comparisons since `since`, when evidence last became void, in seconds since 1970.
        trained_at: comparisons of them when a generation was last trained.
        training: who trains one now, until when at most, and on how many comparisons; None while nobody does.
        events: `{"at", "what", ...}`, the oldest first.
        days: see `days.py`.
        labels: judged and labelled loss of the latest comparisons that people have labelled.
        fingerprints: by model, the `system_fingerprint` values that evidence rests on.
        alarm: of drift that was heeded last.
        configured_at, heard_at: when the first process took the configuration that is served, and when one last told
            it, in seconds since 1970.
    """

    terms: str
    paused: str | None = None
    generations: list[Generation] = field(default_factory=list)
    serving: int | None = None
    counts: Counts = field(default_factory=Counts)
    n_compared: int = 0
    n_agreed: int = 0
    compared_usd: float = 0.0
    n_since: int = 0
    since: float = 0.0
    trained_at: int = 0
    training: dict[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    days: list[dict[str, Any]] = field(default_factory=list)
    labels: list[list[float]] = field(default_factory=list)
    fingerprints: dict[str, list[str]] = field(default_factory=dict)
    alarm: str | None = None
    configured_at: float = 0.0
    heard_at: float = 0.0

    @property
    def current(self) -> Generation | None:
        """The generation that serves."""
        return next((g for g in self.generations if g.number == self.serving), None)

    @property
    def running(self) -> list[Generation]:
        """The generation that serves, and those that are certified beside it."""
        beside = [g for g in self.generations if g.beside and not g.closed and g.number != self.serving]
        return [] if self.current is None else [self.current, *beside]

    def serve(
        self,
        router: str,
        checkpoint: str | None,
        terms: str,
        now: float,
        *,
        bills: tuple[tuple[str, float], ...] = (),
        configured_at: float | None = None,
    ) -> None:
        """Has a generation of a router serve: the best one that it had, after a rollback, or a new one.

        Under changed terms everything starts over, except that the error already used stays used. A process that has
        not reloaded yet changes nothing while others tell a newer configuration: they would void it in turns.

        Args:
            configured_at: when the process took this configuration; now if None.
        """
        taken_at = now if configured_at is None else configured_at
        if not self.is_served(router, terms):
            if taken_at < self.configured_at and now < self.heard_at + _HEARD_S:
                return
            self.configured_at = taken_at
        self.heard_at = now
        if terms != self.terms:
            self.terms = terms
            self.close("models, judge or bound have changed", now)
        current = self.current
        if current is not None and current.router == router and not current.closed:
            return
        kept = [g for g in self.generations if g.router == router and not g.closed]
        if kept:
            self._take_over(max(kept, key=lambda g: (g.saving, g.number)), now)
            self.note("rolled back", now, generation=self.serving)
            return
        generation = Generation(self._next_number(), router, checkpoint, now, bills=bills)
        self._add(generation, now)
        self._take_over(generation, now)

    def is_served(self, router: str, terms: str) -> bool:
        """Whether this is the configuration of what serves."""
        return self.terms == terms and self.current is not None and self.current.router == router

    def begin_learned(self, learned: Learned, n_rows: int, now: float) -> None:
        """Has a learned score certified beside what serves, in place of whatever was."""
        current = self.current
        if current is None or current.closed:
            return
        for each in self.generations:
            each.beside = False
        new = Generation(
            self._next_number(), current.router, current.checkpoint, now,
            learned=learned, trained_on=n_rows, beside=True, bills=current.bills,
        )  # fmt: skip
        self._add(new, now)

    def trained(self, found: dict[str, Any], now: float) -> None:
        """Takes what training gave: a generation, where one is expected to pay."""
        self.training = None
        if "error" in found:
            self.note("training failed", now, why=found["error"])
        elif not found["pays"]:
            self.note("trained, not expected to pay", now, trained_on=found["n"])
        elif (learned := learned_from(found["learned"])) is not None:
            self.begin_learned(learned, int(found["n"]), now)

    def roll_back(self, why: str, now: float) -> bool:
        """Voids a learned generation that serves, and has the best one of its router serve that is left."""
        current = self.current
        if current is None or current.learned is None or current.closed:
            return False
        current.closed, current.beside = why, False
        self.note("closed", now, generation=current.number, why=why)
        self.serve(current.router, current.checkpoint, self.terms, now)
        return True

    def close(self, why: str, now: float) -> None:
        """Voids every certificate: everything is strong until a new generation has earned something."""
        self.n_since, self.since, self.trained_at, self.training = 0, now, 0, None
        self.labels, self.fingerprints = [], {}
        for generation in self.generations:
            generation.beside = False
            if not generation.closed:
                generation.closed = why
                self.note("closed", now, generation=generation.number, why=why)

    def begin_chain(
        self, number: int, scores: Sequence[float | Sequence[float]], config: AutopilotConfig, now: float
    ) -> None:
        """Makes the chain of a running generation from the scores of earlier requests, if it has none yet.

        Args:
            scores: of more than two candidates where the rungs of each request begin.
        """
        found = next((g for g in self.running if g.number == number and g.certificate is None and not g.closed), None)
        if found is None:
            return
        error = generation_error(1.0 - config.confidence, number)
        begins = [np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in scores]
        if not (flat := np.concatenate(begins)).size:
            return  # no candidate is expected to be good enough for anything
        firsts = np.array([each[0] if each.size else np.inf for each in begins])
        chain = make_chain(flat, highest=1.0, firsts=firsts)
        largest = largest_corrected_loss(config.label_share) if 0.0 < config.label_share < 1.0 else 1.0
        found.certificate = Certificate(chain, max_loss=config.max_loss, error=error, largest_loss=largest)
        found.plan = make_plan(found.certificate, config.compare, most=found.most)
        self.note("chain made", now, generation=number, steps=len(chain))

    def count(self, rows: Sequence[AutopilotRow], config: AutopilotConfig, now: float) -> None:
        """Adds comparisons to the certificates of the generations that they were drawn for."""
        for plans, group in groupby(rows, key=plans_of):
            same = list(group)
            self._count_totals(same)
            joint = JointPlan(tuple(ComparisonPlan(*plan) for _, plan in plans))
            for place, (number, _) in enumerate(plans):
                generation = next((g for g in self.generations if g.number == number), None)
                if generation is None or generation.closed or generation.certificate is None:
                    continue
                before = generation.certificate.n_open
                add_comparisons(generation.certificate, same, joint, place, dict(generation.bills))
                self._note_opened(generation, before, config, now)
        self._choose(now)

    def record_day(self, counts: Counts, rows: Sequence[AutopilotRow], now: float) -> None:
        """Adds what a turn has counted to the day, and what is certified now."""
        current = self.current
        loss = None
        if current is not None and current.certificate is not None and current.share > 0.0:
            loss = round(current.certificate.estimate(current.certificate.n_open - 1).value, 6)
        share = round(current.share, 4) if current is not None else 0.0
        figures: dict[str, Any] = {"certified_share": share, "loss": loss, "generation": self.serving}
        usd = sum(row.cost_usd for row in rows) + counts.without_row_usd
        self.days = add_to_day(
            self.days, now, requests=counts.n_requests, weak=counts.n_weak, saved_usd=counts.saved_usd,
            comparisons=len(rows), compared_usd=usd, failed=counts.n_failed, **figures,
        )  # fmt: skip

    def note(self, what: str, now: float, **more: Any) -> None:
        """Remembers an event."""
        self.events = [*self.events, {"at": round(now, 3), "what": what, **more}][-_MAX_EVENTS:]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("counts", "generations")}
        return {**plain, "counts": asdict(self.counts), "generations": [g.to_dict() for g in self.generations]}

    @classmethod
    def from_dict(cls, kept: dict[str, Any] | None) -> Self:
        """What `to_dict` gave, of earlier versions too; a new one where there is none.

        Raises:
            ValueError: it is damaged.
        """
        if kept is None:
            return cls("")
        try:
            generations = [Generation.from_dict(each) for each in kept["generations"]]
            found = cls(**{**kept, "counts": Counts(**kept["counts"]), "generations": generations})
        except (KeyError, TypeError) as error:
            raise ValueError(f"the state of the autopilot is damaged: {error}") from error
        if "serving" not in kept and generations:
            found.serving = generations[-1].number
        return found

    def _next_number(self) -> int:
        return 1 + max((g.number for g in self.generations), default=-1)

    def _add(self, generation: Generation, now: float) -> None:
        self.generations.append(generation)
        running = {g.number for g in self.running} | {generation.number}
        for old in [g for g in self.generations if g.number not in running][:-_KEPT]:
            old.certificate = old.plan = old.learned = None
            old.closed = old.closed or "superseded"
        more = {"trained_on": generation.trained_on} if generation.learned is not None else {}
        self.note("generation began", now, generation=generation.number, checkpoint=generation.checkpoint, **more)

    def _take_over(self, generation: Generation, now: float) -> None:
        self.serving, generation.served_at = generation.number, now
        generation.beside = False

    def _choose(self, now: float) -> None:
        """Has the generation serve that has certified most savings; the one before it runs on beside it."""
        current, running = self.current, self.running
        if current is None or not running:
            return
        best = max(running, key=lambda g: g.saving)
        if best.saving > current.saving:
            current.beside = not current.closed
            self._take_over(best, now)
            self.note("took over", now, generation=best.number, share=round(best.share, 4), before=current.number)

    def _count_totals(self, rows: Sequence[AutopilotRow]) -> None:
        self.n_compared += len(rows)
        self.n_since += sum(row.at >= self.since for row in rows)
        self.n_agreed += sum(row.agreed for row in rows)
        self.compared_usd += sum(row.cost_usd for row in rows)
        told = [[row.loss, row.label] for row in rows if row.label is not None]
        self.labels = [*self.labels, *told][-_LABELS:]

    def _note_opened(self, generation: Generation, before: int, config: AutopilotConfig, now: float) -> None:
        certificate = generation.certificate
        assert certificate is not None
        opened = certificate.n_open > before
        if opened:
            steps, share = certificate.n_open, round(generation.share, 4)
            self.note("opened", now, generation=generation.number, steps=steps, share=share)
        if opened or certificate.n_compared - generation.planned_at >= _REPLAN_EVERY:
            generation.plan = make_plan(certificate, config.compare, most=generation.most)
            generation.planned_at = certificate.n_compared
