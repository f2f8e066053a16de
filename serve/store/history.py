"""Reads what the store holds about requests: decisions, feedback and judged answers."""

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from sqlalchemy import Table, select

from pointsman.serve.store.database import Database
from pointsman.serve.store.queries import (
    DecisionFilter,
    Group,
    Said,
    Total,
    select_bins,
    select_decisions,
    select_said,
    select_totals,
    within,
)
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, FeedbackRow, clean_text
from pointsman.serve.store.schema import autopilot, comparisons, decisions, feedback

__all__ = ["History"]

_SaidRow = TypeVar("_SaidRow", FeedbackRow, ComparisonRow)


class History:
    """Reads decisions, feedback and comparisons."""

    _database: Database

    async def decisions(
        self, chosen: DecisionFilter | None = None, *, limit: int = 100, before: str | None = None
    ) -> list[DecisionRow]:
        """The newest decisions first.

        Args:
            before: a row's id; the page starts with the next older row.
        """
        query = select_decisions(chosen or DecisionFilter(), limit=limit, before=before)
        return [DecisionRow(**row) for row in await self._database.rows(query)]

    async def scan(self, chosen: DecisionFilter | None = None, *, page: int = 1000) -> AsyncIterator[list[DecisionRow]]:
        """All decisions, the oldest first, page by page."""
        after = ""
        while rows := await self._database.rows(select_decisions(chosen or DecisionFilter(), limit=page, after=after)):
            yield [DecisionRow(**row) for row in rows]
            after = rows[-1]["id"]

    async def decision(self, request_id: str, *, key_id: str | None = None) -> DecisionRow | None:
        """The newest decision on a request with that id, or None.

        Args:
            key_id: whose request it must be; anyone's if None.
        """
        wanted = decisions.c.request_id == clean_text(request_id)
        query = select(decisions).where(wanted).order_by(decisions.c.id.desc()).limit(1)
        if key_id is not None:
            query = query.where(decisions.c.key_id == key_id)
        rows = await self._database.rows(query)
        return DecisionRow(**rows[0]) if rows else None

    async def totals(self, by: Sequence[Group] = (), chosen: DecisionFilter | None = None) -> list[Total]:
        """Counts and sums per group, sorted by group; over everything if `by` is empty."""
        rows = await self._database.tuples(select_totals(chosen or DecisionFilter(), by))
        return [Total(tuple(row[: len(by)]), *row[len(by) :]) for row in rows]

    async def win_rates(
        self, chosen: DecisionFilter | None = None, *, limit: int = 10_000
    ) -> list[tuple[float, float, str]]:
        """The newest win rates, the newest first: when, the win rate, and the outcome."""
        columns = decisions.c
        query = select_decisions(chosen or DecisionFilter(), limit=limit).where(columns.win_rate.is_not(None))
        rows = await self._database.tuples(query.with_only_columns(columns.at, columns.win_rate, columns.outcome))
        return [(row[0], row[1], row[2]) for row in rows]

    async def bins(self, chosen: DecisionFilter | None = None, *, n_bins: int = 1000) -> list[tuple[float, ...]]:
        """Win rates and dollars of decisions by bin of win rates; see `select_bins`."""
        rows = await self._database.tuples(select_bins(chosen or DecisionFilter(), n_bins=n_bins))
        return [tuple(float(value) for value in row) for row in rows]

    async def feedback(
        self, *, since: float | None = None, until: float | None = None, request_id: str | None = None
    ) -> list[FeedbackRow]:
        """Feedback, the oldest first."""
        return await self._said(feedback, FeedbackRow, since=since, until=until, request_id=request_id)

    async def comparisons(
        self, *, since: float | None = None, until: float | None = None, request_id: str | None = None
    ) -> list[ComparisonRow]:
        """Judged answers, the oldest first."""
        return await self._said(comparisons, ComparisonRow, since=since, until=until, request_id=request_id)

    async def said(self, *, since: float | None = None) -> list[Said]:
        """Feedback with the model that answered, the oldest first."""
        return [Said(*row) for row in await self._database.tuples(select_said(since))]

    async def comparison_probabilities(self, *, since: float | None = None) -> dict[str, float]:
        """Probabilities with which the autopilot drew its comparisons, by their ids."""
        query = select(autopilot.c.id, autopilot.c.probability).where(*within(autopilot, since, None))
        return dict(await self._database.tuples(query))

    async def _said(
        self,
        table: Table,
        kind: type[_SaidRow],
        *,
        since: float | None,
        until: float | None,
        request_id: str | None,
    ) -> list[_SaidRow]:
        query = select(table).where(*within(table, since, until)).order_by(table.c.id)
        if request_id is not None:
            query = query.where(table.c.request_id == request_id)
        return [kind(**row) for row in await self._database.rows(query)]
