"""The database of a server: rows in, rows and sums out."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import fields
from itertools import takewhile
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Table, and_, case, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pointsman.core.errors import StoreError
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.config.store import StoreConfig
from pointsman.serve.store.database import Database
from pointsman.serve.store.inserts import RowInsert
from pointsman.serve.store.migrations import migrate
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
from pointsman.serve.store.rows import (
    AutopilotRow,
    ComparisonRow,
    DecisionRow,
    FeedbackRow,
    Row,
    SpendRow,
    StatusRow,
    clean_text,
)
from pointsman.serve.store.schema import (
    autopilot,
    budget_accounts,
    comparisons,
    decisions,
    feedback,
    keys,
    sessions,
    spend,
    status,
)
from pointsman.serve.store.url import read_url

__all__ = ["Store"]

_LOG = logging.getLogger(__name__)
_TABLES: dict[type, Table] = {
    DecisionRow: decisions,
    FeedbackRow: feedback,
    ComparisonRow: comparisons,
    AutopilotRow: autopilot,
}
_KEYS_CHANGED = "keys"  # status row whose version counts the changes of the keys
_UNLABELLED = and_(autopilot.c.wants_label == 1, autopilot.c.label.is_(None))
_RETRY_S = 0.5
_FILE_PATIENCE_S = 2.0  # others may be making the file at this moment
_AnyRow = TypeVar("_AnyRow", DecisionRow, FeedbackRow, ComparisonRow)


class Store:
    """Everything that is kept in one SQLite file or PostgreSQL database.

    Its methods raise `StoreError` where the database cannot be reached or refuses.
    """

    def __init__(self, config: StoreConfig, *, searches: bool = False) -> None:
        """Reads the URL; connects in `start`.

        Args:
            searches: see `for_searches`.

        Raises:
            ConfigError: the URL is malformed, or its variable is not set.
            MissingExtraError: PostgreSQL's driver is not installed.
        """
        self.config = config
        self._searches: Store | None = None
        self._database = Database(read_url(config.url), searches=searches)
        self._inserts = {kind: RowInsert(self._database, table) for kind, table in _TABLES.items()}
        self._put_spend = _put_spend(self._database)

    async def start(self, *, patience_s: float = 15.0) -> None:
        """Connects and brings the tables up to date.

        Args:
            patience_s: how long to wait for a PostgreSQL that cannot be reached: it may be starting itself.

        Raises:
            StoreError: it cannot be reached, or a later version has served on it.
        """
        patience_s = patience_s if self._database.dialect.name == "postgresql" else min(patience_s, _FILE_PATIENCE_S)
        deadline, said = time.monotonic() + patience_s, False
        while True:
            try:
                async with self._database.writing() as connection:
                    await migrate(connection)
                self._database.creates = False
                return
            except StoreError as error:
                if error.__cause__ is None or time.monotonic() > deadline:
                    await self.close()
                    raise
                if not said:
                    _LOG.warning("%s; retrying for %g s", error, patience_s)
                said = True
            await asyncio.sleep(_RETRY_S)

    def for_searches(self) -> "Store":
        """The same store by two connections of their own, and a deadline for each question: for who looks at it."""
        if self._searches is None:
            self._searches = Store(self.config, searches=True)
        return self._searches

    async def close(self) -> None:
        """Closes the connections."""
        if self._searches is not None:
            await self._searches.close()
        await self._database.close()

    async def __aenter__(self) -> Self:
        await self.start(patience_s=0.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def add(self, rows: Sequence[Row], spent: Sequence[SpendRow] = ()) -> None:
        """Writes rows in one transaction; a row that is there already, by its id, is left as it is.

        Args:
            spent: totals to replace in the same transaction; see `put_spend`.
        """
        async with self._database.writing() as connection:
            for kind, insert in self._inserts.items():
                if mine := [row for row in rows if type(row) is kind]:
                    await insert(connection, mine)
            if spent:
                await connection.execute(self._put_spend, [_values(row) for row in spent])

    async def decisions(
        self, chosen: DecisionFilter | None = None, *, limit: int = 100, before: str | None = None
    ) -> list[DecisionRow]:
        """The newest decisions first.

        Args:
            before: a row's id; the page that begins with the next older one.
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
        """The newest decision on a request of that id; None if there is none.

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
        """Counts and sums per group, sorted by it; over everything where `by` is empty."""
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
        """What clients said, the oldest first."""
        return await self._said(feedback, FeedbackRow, since=since, until=until, request_id=request_id)

    async def comparisons(
        self, *, since: float | None = None, until: float | None = None, request_id: str | None = None
    ) -> list[ComparisonRow]:
        """Judged answers, the oldest first."""
        return await self._said(comparisons, ComparisonRow, since=since, until=until, request_id=request_id)

    async def said(self, *, since: float | None = None) -> list[Said]:
        """What clients said, with the model whose answer it is about; the oldest first."""
        return [Said(*row) for row in await self._database.tuples(select_said(since))]

    async def comparison_probabilities(self, *, since: float | None = None) -> dict[str, float]:
        """Probabilities with which the autopilot drew its comparisons, by their ids."""
        query = select(autopilot.c.id, autopilot.c.probability).where(*within(autopilot, since, None))
        return dict(await self._database.tuples(query))

    async def put_spend(self, rows: Sequence[SpendRow]) -> None:
        """Replaces a process's totals of some quarters of an hour, unless newer ones are there."""
        if not rows:
            return
        async with self._database.writing() as connection:
            await connection.execute(self._put_spend, [_values(row) for row in rows])

    async def spend(
        self, since: float, until: float | None = None, *, except_writer: str | None = None
    ) -> list[SpendRow]:
        """What all processes spent, summed over them (`writer` is "" in the sums), the oldest first.

        Args:
            since, until: since <= beginning of the quarter of an hour < until.
            except_writer: how the names of a process begin that knows its own totals better.
        """
        groups = (spend.c.at, spend.c.key_id, spend.c.model)
        sums = (func.sum(spend.c[name]) for name in ("n_requests", "input_tokens", "output_tokens", "cost_usd"))
        query = select(*groups, *sums).where(*_spent(since, until, except_writer)).group_by(*groups).order_by(*groups)
        return [
            SpendRow(
                writer="", at=at, key_id=key_id, model=model, n_requests=int(n), input_tokens=int(read),
                output_tokens=int(written), cost_usd=cost,
            )
            for at, key_id, model, n, read, written, cost in await self._database.tuples(query)
        ]  # fmt: skip

    async def spent_by_key(
        self, since: float, until: float | None = None, *, except_writer: str | None = None
    ) -> dict[str, float]:
        """Dollars of every key; see `spend`."""
        sums = select(spend.c.key_id, func.sum(spend.c.cost_usd)).group_by(spend.c.key_id)
        return dict(await self._database.tuples(sums.where(*_spent(since, until, except_writer))))

    async def open_account(self, name: str, begin: float, drawn_usd: float) -> bool:
        """Makes the account of a budget's period; whether it was not there yet.

        Args:
            drawn_usd: what was spent of it before.
        """
        values = {"name": name, "begin": begin, "drawn_usd": drawn_usd, "granted_usd": 0.0}
        insert = self._database.insert(budget_accounts).values(values).on_conflict_do_nothing()
        async with self._database.writing() as connection:
            return bool((await connection.execute(insert)).rowcount == 1)

    async def draw(self, name: str, begin: float, usd: float, *, ceiling_usd: float | None) -> tuple[float, float]:
        """Draws from a budget's account, or gives back; dollars granted, and dollars drawn by all now.

        One statement, so that processes that draw at once never get more than there is.

        Args:
            usd: how much; negative gives back.
            ceiling_usd: what all may draw together; None grants `usd` whatever was drawn.
        """
        account = budget_accounts.c
        granted: Any = literal(usd)
        if ceiling_usd is not None:
            left = ceiling_usd - account.drawn_usd
            granted = case((left >= usd, usd), (left > 0.0, left), else_=0.0)
        statement = (
            update(budget_accounts)
            .where(account.name == name, account.begin == begin)
            .values(drawn_usd=account.drawn_usd + granted, granted_usd=granted)
            .returning(account.granted_usd, account.drawn_usd)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            raise StoreError(f"the account of budget {name} is gone from the store")
        return float(row[0]), float(row[1])

    async def put_sessions(self, models: Mapping[str, str], *, delete_before: float | None = None) -> None:
        """Sets the models of conversations, and deletes those that have been silent since a time."""
        now = time.time()
        insert = self._database.insert(sessions)
        changed = {name: insert.excluded[name] for name in ("model", "at")}
        statement = insert.on_conflict_do_update(index_elements=[sessions.c.session], set_=changed)
        async with self._database.writing() as connection:
            if models:
                rows = [{"session": session, "model": model, "at": now} for session, model in sorted(models.items())]
                await connection.execute(statement, rows)
            if delete_before is not None:
                await connection.execute(delete(sessions).where(sessions.c.at < delete_before))

    async def session(self, session: str, *, since: float) -> str | None:
        """The model of a conversation that was set since a time; None if it was not."""
        rows = await self._database.tuples(
            select(sessions.c.model).where(sessions.c.session == session, sessions.c.at >= since)
        )
        return rows[0][0] if rows else None

    async def keys(self) -> dict[str, AccessKey]:
        """The keys that are valid, by id."""
        query = select(keys).where(keys.c.revoked_at.is_(None)).order_by(keys.c.created, keys.c.id)
        rows = await self._database.rows(query)
        return {row["id"]: AccessKey(**{name: row[name] for name in row if name != "revoked_at"}) for row in rows}

    async def keys_version(self) -> int:
        """A number that changes with the keys."""
        row = await self.status(_KEYS_CHANGED)
        return row.version if row is not None else 0

    async def add_key(self, key: AccessKey) -> None:
        """Makes a key valid."""
        async with self._database.writing() as connection:
            await connection.execute(self._database.insert(keys), {**_values(key), "revoked_at": None})
            await self._bump(connection)

    async def revoke_key(self, key_id: str) -> bool:
        """Makes a key invalid for good; whether it was valid."""
        revoked = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=time.time())
        async with self._database.writing() as connection:
            changed = (await connection.execute(revoked)).rowcount == 1
            if changed:
                await self._bump(connection)
        return changed

    async def status(self, name: str) -> StatusRow | None:
        """A fact that the processes share; None where it was never set."""
        rows = await self._database.rows(select(status).where(status.c.name == name))
        return StatusRow(**rows[0]) if rows else None

    async def set_status(self, name: str, value: Any, *, version: int | None = None) -> bool:
        """Sets a fact, at once for all processes; whether it was set.

        Args:
            value: of JSON types.
            version: set it only if this is its version still, 0 if it was never set; always if None.
        """
        async with self._database.writing() as connection:
            return await self._set_status(connection, name, value, version)

    async def autopilot(
        self, generations: Sequence[int] | None = None, *, since: float | None = None, newest: int | None = None
    ) -> list[AutopilotRow]:
        """The autopilot's comparisons, the oldest first.

        Args:
            generations: of these alone.
            since: made since then alone.
            newest: at most so many, the newest.
        """
        query = select(autopilot).where(*within(autopilot, since, None)).order_by(autopilot.c.id.desc()).limit(newest)
        if generations is not None:
            query = query.where(autopilot.c.generation.in_(generations))
        return [_autopilot_row(row) for row in reversed(await self._database.rows(query))]

    async def waiting_labels(self, *, limit: int = 1000) -> list[AutopilotRow]:
        """The autopilot's comparisons that people are asked about and have not answered yet, the oldest first."""
        query = select(autopilot).where(_UNLABELLED).order_by(autopilot.c.id).limit(limit)
        return [_autopilot_row(row) for row in await self._database.rows(query)]

    async def label(self, comparison: str, loss: float) -> bool:
        """Sets what people say was lost in a comparison that they were asked about, and forgets what they were shown.

        Returns:
            Whether it waited for that; the first word counts.
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
        """Folds comparisons that were not counted yet into a fact, in one transaction: each of them counts once.

        They are counted in their order: nothing behind one that waits is counted.

        Args:
            name: of the fact.
            change: from its value, None at first, and the oldest of these comparisons, its new value.
            limit: at most so many comparisons.
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

    async def delete_before(self, at: float, *, limit: int = 1000) -> int:
        """Deletes at most `limit` of the oldest rows before a time from each table of rows; how many there were."""
        deleted = 0
        async with self._database.writing() as connection:
            for table in _TABLES.values():
                oldest = select(table.c.id).where(*within(table, None, at)).order_by(table.c.id).limit(limit)
                deleted += (await connection.execute(delete(table).where(table.c.id.in_(oldest)))).rowcount
        return deleted

    async def delete_spend_before(self, at: float) -> None:
        """Deletes the spend of the quarters of an hour before a time, and the accounts of budgets of before."""
        async with self._database.writing() as connection:
            await connection.execute(delete(spend).where(spend.c.at < at))
            await connection.execute(delete(budget_accounts).where(budget_accounts.c.begin < at))

    async def secret(self, name: str) -> bytes:
        """32 random bytes of this database: made by whoever asks first, the same for all."""
        await self.set_status(name, secrets.token_hex(32), version=0)
        row = await self.status(name)
        assert row is not None
        return bytes.fromhex(row.value)

    async def _said(
        self,
        table: Table,
        kind: type[_AnyRow],
        *,
        since: float | None,
        until: float | None,
        request_id: str | None,
    ) -> list[_AnyRow]:
        query = select(table).where(*within(table, since, until)).order_by(table.c.id)
        if request_id is not None:
            query = query.where(table.c.request_id == request_id)
        return [kind(**row) for row in await self._database.rows(query)]

    async def _bump(self, connection: AsyncConnection) -> None:
        await self._set_status(connection, _KEYS_CHANGED, True, None)

    async def _set_status(self, connection: AsyncConnection, name: str, value: Any, version: int | None) -> bool:
        insert = self._database.insert(status).values(name=name, value=value, version=1, at=time.time())
        changed = {"value": insert.excluded.value, "version": status.c.version + 1, "at": insert.excluded.at}
        if version == 0:
            statement: Any = insert.on_conflict_do_nothing()
        elif version is None:
            statement = insert.on_conflict_do_update(index_elements=[status.c.name], set_=changed)
        else:
            now = {"value": value, "version": version + 1, "at": time.time()}
            statement = update(status).where(status.c.name == name, status.c.version == version).values(now)
        return bool((await connection.execute(statement)).rowcount == 1)


def _spent(since: float, until: float | None, except_writer: str | None) -> list[ColumnElement[bool]]:
    """Conditions for totals of a span of time."""
    chosen = [spend.c.at >= since]
    if until is not None:
        chosen.append(spend.c.at < until)
    if except_writer is not None:
        chosen.append(~spend.c.writer.startswith(except_writer, autoescape=True))
    return chosen


def _put_spend(database: Database) -> Any:
    """An INSERT of totals that replaces older ones of the same process, quarter of an hour, key and model.

    Two transactions of a process may write them at a time, and end in either order.
    """
    insert = database.insert(spend)
    names = ("n_requests", "input_tokens", "output_tokens", "cost_usd")
    return insert.on_conflict_do_update(
        index_elements=list(spend.primary_key),
        set_={name: insert.excluded[name] for name in names},
        where=insert.excluded.n_requests >= spend.c.n_requests,
    )


def _values(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _autopilot_row(values: dict[str, Any]) -> AutopilotRow:
    others = tuple(tuple(each) for each in values["others"])
    return AutopilotRow(**{**values, "plan": tuple(values["plan"]), "others": others})
