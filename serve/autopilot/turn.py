"""What one turn of one process changes of the state that all processes share."""

import logging
from dataclasses import dataclass, field
from typing import Any

from pointsman.serve.autopilot.counts import Counts
from pointsman.serve.autopilot.place import Begins
from pointsman.serve.autopilot.serving import Serving
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.autopilot.training import due
from pointsman.serve.config.autopilot import AutopilotConfig

__all__ = ["BY_ADMIN", "Turn", "act_on"]

_LOG = logging.getLogger(__name__)
BY_ADMIN = "by an administrator"  # why comparing is paused


@dataclass(frozen=True, slots=True)
class Turn:
    """Called with the state and the comparisons that are not counted yet, within a transaction.

    Attributes:
        writer: identifies the process.
        counts: what it has seen.
        alarm: of drift; None while there is none.
        scores: of the first requests of generations without a chain, by number.
        pause: why comparing is to pause; None while it is not.
        first, changed: fingerprints, see `Fingerprints.take`.
        configured_at: when the process took its configuration; now if None.
    """

    config: AutopilotConfig
    serving: Serving
    writer: str
    counts: Counts
    alarm: str | None
    now: float
    scores: dict[int, list[Begins]] = field(default_factory=dict)
    pause: str | None = None
    first: dict[str, str] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    configured_at: float | None = None

    def __call__(self, kept: Any, rows: Any) -> Any:
        try:
            state = AutopilotState.from_dict(kept)
        except ValueError as error:
            _LOG.error("%s; the autopilot starts over", error)
            state = AutopilotState("")
        if self.alarm is not None and self.alarm != state.alarm:
            state.alarm = self.alarm
            if state.current is None or state.current.certificate is not None:
                state.close("drift", self.now)  # else another process has noticed the same drift: nothing is certified
        self._heed_fingerprints(state)
        now = self.serving
        state.serve(
            now.identity, now.checkpoint, now.terms, self.now, bills=now.bills, configured_at=self.configured_at
        )
        state.counts.add(self.counts)
        if self.pause is not None and state.paused is None:
            state.paused = self.pause
            state.note("paused", self.now, why=self.pause)
        for number, scores in self.scores.items():
            state.begin_chain(number, scores, self.config, self.now)
        state.count(rows, self.config, self.now)
        state.record_day(self.counts, rows, self.now)
        self._claim_training(state)
        return state.to_dict()

    def _heed_fingerprints(self, state: AutopilotState) -> None:
        """Voids what rests on a model that has changed."""
        for model, told in self.changed.items():
            known = state.fingerprints.get(model, [])
            if set(told) <= set(known):  # another process has reported it
                continue
            was = f"system_fingerprint {', '.join(told)}, it was {', '.join(known)}"
            state.close(f"{model} has changed: {was}", self.now)
            state.fingerprints[model] = told
        for model, one in self.first.items():
            state.fingerprints.setdefault(model, [one])

    def _claim_training(self, state: AutopilotState) -> None:
        """Has this process train a generation, where one is due: nobody else will for as long as that may take."""
        if (n := due(state, self.config, self.now)) is not None:
            until = self.now + 2.0 * self.config.train_seconds
            state.training = {"by": self.writer, "until": until, "comparisons": n}
            state.trained_at = n


def act_on(state: AutopilotState, action: str, now: float) -> None:
    """Does what an administrator wants.

    Raises:
        ValueError: there is nothing to roll back.
    """
    if action == "rollback":
        if not state.roll_back("rolled back by an administrator", now):
            raise ValueError("nothing to roll back: what serves was not learned by the autopilot")
        return
    if action == "reset":
        state.close("reset", now)
        state.paused = None
    else:
        state.paused = BY_ADMIN if action == "pause" else None
    state.note(action, now)
