"""Many rows at once, with next to no work per row on the event loop."""

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator

from pointsman.serve.store.database import Database
from pointsman.serve.store.rows import Row

__all__ = ["RowInsert"]


_AT_ONCE = 20  # rows in one statement; SQLite before 3.32 takes 999 values


class RowInsert:
    """An INSERT into one table that leaves existing rows unchanged.

    Statements are compiled once, and rows go to the driver as tuples: SQLAlchemy's own way takes ten times as long.
    SQLite gets several rows with each execution: its driver releases and reacquires the interpreter's lock every
    time, in competition with the event loop.
    """

    def __init__(self, database: Database, table: Table) -> None:
        dialect = database.dialect
        compiled = database.insert(table).on_conflict_do_nothing().compile(dialect=dialect)
        names = compiled.positiontup
        self._sql = str(compiled)
        self._sql_of_many: str | None = None
        if dialect.name == "sqlite":
            place = f"({', '.join('?' * len(names))})"
            self._sql_of_many = self._sql.replace(place, ", ".join([place] * _AT_ONCE))
        self._values: Callable[[Any], tuple[Any, ...]] = attrgetter(*names)
        self._dialect = dialect
        self._converted = [
            (i, kind) for i, name in enumerate(names) if isinstance(kind := table.c[name].type, TypeDecorator)
        ]

    async def __call__(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        values = [self._tuple(row) for row in rows]
        if self._sql_of_many is not None and len(values) >= _AT_ONCE:
            whole = len(values) - len(values) % _AT_ONCE
            many = [tuple(chain.from_iterable(values[i : i + _AT_ONCE])) for i in range(0, whole, _AT_ONCE)]
            await connection.exec_driver_sql(self._sql_of_many, many)
            del values[:whole]
        if values:
            await connection.exec_driver_sql(self._sql, values)

    def _tuple(self, row: Row) -> tuple[Any, ...]:
        values = list(self._values(row))
        for i, kind in self._converted:
            values[i] = kind.process_bind_param(values[i], self._dialect)
        return tuple(values)
