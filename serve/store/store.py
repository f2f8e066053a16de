"""The database of a server: rows in, rows and sums out."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Self

from sqlalchemy import Table, delete, select

from pointsman.core.errors import StoreError
from pointsman.serve.config.store import StoreConfig
from pointsman.serve.store.autopilot_table import AutopilotTable
from pointsman.serve.store.database import Database
from pointsman.serve.store.history import History
from pointsman.serve.store.inserts import RowInsert
from pointsman.serve.store.keys_table import KeysTable
from pointsman.serve.store.migrations import migrate
from pointsman.serve.store.queries import within
from pointsman.serve.store.rows import (
    AutopilotRow,
    ComparisonRow,
    DecisionRow,
    FeedbackRow,
    Row,
    SpendRow,
    row_values,
)
from pointsman.serve.store.schema import autopilot, comparisons, decisions, feedback
from pointsman.serve.store.sessions_table import SessionsTable
from pointsman.serve.store.spend_tables import SpendTables, put_spend_statement
from pointsman.serve.store.url import read_url

__all__ = ["Store"]

_LOG = logging.getLogger(__name__)
_TABLES: dict[type, Table] = {
    DecisionRow: decisions,
    FeedbackRow: feedback,
    ComparisonRow: comparisons,
    AutopilotRow: autopilot,
}
_RETRY_S = 0.5
_FILE_PATIENCE_S = 2.0  # others may be making the file at this moment


class Store(History, SpendTables, SessionsTable, KeysTable, AutopilotTable):
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
        self._put_spend = put_spend_statement(self._database)

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
        """Writes rows in one transaction; a row whose id already exists is left unchanged.

        Args:
            spent: totals to replace in the same transaction; see `put_spend`.
        """
        async with self._database.writing() as connection:
            for kind, insert in self._inserts.items():
                if mine := [row for row in rows if type(row) is kind]:
                    await insert(connection, mine)
            if spent:
                await connection.execute(self._put_spend, [row_values(row) for row in spent])

    async def delete_before(self, at: float, *, limit: int = 1000) -> int:
        """Deletes at most `limit` of the oldest rows before a time from each table of rows; how many there were."""
        deleted = 0
        async with self._database.writing() as connection:
            for table in _TABLES.values():
                oldest = select(table.c.id).where(*within(table, None, at)).order_by(table.c.id).limit(limit)
                deleted += (await connection.execute(delete(table).where(table.c.id.in_(oldest)))).rowcount
        return deleted
