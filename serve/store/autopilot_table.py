"""The autopilot's comparisons, and how they are counted into its state."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from sqlalchemy import and_, select, update

from pointsman.serve.store.queries import within
from pointsman.serve.store.rows import AutopilotRow
from pointsman.serve.store.schema import autopilot, status
from pointsman.serve.store.status_table import StatusTable

__all__ = ["AutopilotTable"]

_UNLABELLED = and_(autopilot.c.wants_label == 1, autopilot.c.label.is_(None))


class AutopilotTable(StatusTable):
    """Comparisons of the autopilot."""

    async def autopilot(
        self, generations: Sequence[int] | None = None, *, since: float | None = None, newest: int | None = None
    ) -> list[AutopilotRow]:
        """The autopilot's comparisons, the oldest first.

        Args:
            generations: only of these.
            since: only those made since then.
            newest: return at most this many, the newest.
        """
        query = select(autopilot).where(*within(autopilot, since, None)).order_by(autopilot.c.id.desc()).limit(newest)
        if generations is not None:
            query = query.where(autopilot.c.generation.in_(generations))
        return [_autopilot_row(row) for row in reversed(await self._database.rows(query))]

    async def waiting_labels(self, *, limit: int = 1000) -> list[AutopilotRow]:
        """The autopilot's comparisons that still wait for people's labels, the oldest first."""
        query = select(autopilot).where(_UNLABELLED).order_by(autopilot.c.id).limit(limit)
        return [_autopilot_row(row) for row in await self._database.rows(query)]

    async def label(self, comparison: str, loss: float) -> bool:
        """Sets the loss that people found in a comparison, and deletes what they were shown.

        Returns:
            Whether it waited for a label; the first one counts.
        """
        said = update(autopilot).where(autopilot.c.id == comparison, _UNLABELLED).values(label=loss, shown=None)
        async with self._database.writing() as connection:
            return bool((await connection.execute(said)).rowcount == 1)

    async def fold_autopilot(
        self,
        name: str,
        change: Callable[[Any, Sequence[AutopilotRow]], Any],
        *,
        limit: int = 50,
        waits: Callable[[Any, AutopilotRow], bool] = lambda value, row: False,
    ) -> tuple[Any, int]:
        """Folds uncounted comparisons into a fact, in one transaction, so that each counts once.

        They are counted in order: nothing behind one that waits is counted.

        Args:
            name: of the fact.
            change: gives the new value from the old one, None at first, and the oldest of these comparisons.
            limit: at most this many comparisons.
            waits: whether a comparison cannot be counted yet, from the fact's value and the comparison.

        Returns:
            The new value, and how many comparisons were folded in.
        """
        waiting = select(autopilot).where(autopilot.c.counted == 0).order_by(autopilot.c.id).limit(limit)
        async with self._database.writing() as connection:
            await self._set_status(connection, name, None, 0)
            locked = select(status.c.value).where(status.c.name == name).with_for_update()  # SQLite ignores it
            value = (await connection.execute(locked)).scalar_one()
            found = [_autopilot_row(dict(row)) for row in (await connection.execute(waiting)).mappings()]
            rows = list(takewhile(lambda row: not waits(value, row), found))
            value = change(value, rows)
            if rows:
                done = update(autopilot).where(autopilot.c.id.in_([row.id for row in rows])).values(counted=1)
                await connection.execute(done)
            await self._set_status(connection, name, value, None)
        return value, len(rows)


def _autopilot_row(values: dict[str, Any]) -> AutopilotRow:
    others = tuple(tuple(each) for each in values["others"])
    tuples = {name: tuple(values[name]) for name in ("plan", "win_rates")}
    return AutopilotRow(**{**values, **tuples, "others": others})
