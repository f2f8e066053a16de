"""Counts of cascades in this process: how many answers were escalated, why, and what it saved."""

from collections import Counter
from typing import Any

from pointsman.serve.request.record import Record

__all__ = ["CascadeTally"]


class CascadeTally:
    """An observer of records."""

    def __init__(self) -> None:
        """Starts at zero."""
        self._looks: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._n_read = self._n_escalated = 0
        self._unused_usd = self._saved_usd = 0.0

    def __call__(self, record: Record) -> None:
        """A request has ended."""
        run = record.context.cascade if record.context is not None else None
        if run is None:
            return
        self._looks[run.look] += 1
        if not run.stages:
            return
        self._n_read += 1
        if run.escalated:
            self._n_escalated += 1
            self._reasons.update({stage.reason for stage in run.stages if stage.verdict == "escalated"})
            unused = [stage.model for stage in run.stages if stage.model != run.answered_by]
            self._unused_usd += sum(charge.cost_usd or 0.0 for charge in record.charges if charge.model in unused)
        if record.strong_usd is not None and record.cost_usd is not None:
            self._saved_usd += record.strong_usd - record.cost_usd

    def facts(self) -> dict[str, Any]:
        """As JSON types.

        `n_planned` requests by the plan (`looks`), `n_read` whose answer was read, `n_escalated` of these
        and their `reasons`; dollars of answers that were not returned, and saved against always asking strong.
        """
        return {
            "n_planned": self._looks.total(),
            "looks": dict(self._looks),
            "n_read": self._n_read,
            "n_escalated": self._n_escalated,
            "reasons": dict(self._reasons.most_common()),
            "unused_usd": self._unused_usd,
            "saved_usd": self._saved_usd,
        }
