"""One SQLite file or PostgreSQL database: connections, errors, and differences between the two."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pointsman.core.errors import MissingExtraError, StoreError

__all__ = ["Database", "RowError"]

_LOG = logging.getLogger(__name__)
_ROLLING = set["asyncio.Future[None]"]()  # rollbacks under way: the loop alone would not keep them
_BUSY_S = 5.0
_CONNECT_S = 5.0
_COMMAND_S = 30.0
_WRITES = "pointsman_writes"
# Parameters, prompts among them, show in no error.
_POOL: dict[str, Any] = {"pool_size": 4, "max_overflow": 4, "pool_timeout": _CONNECT_S, "hide_parameters": True}
_SEARCH_S = 10.0
_SEARCHES: dict[str, Any] = {**_POOL, "pool_size": 2, "max_overflow": 0}
_UNTIL = "pointsman_until"
_CHECK_EVERY = 100_000  # of SQLite's instructions: some milliseconds


class RowError(StoreError):
    """The database works, but rejects the values."""


class Database:
    """Connections to one database, opened when needed.

    Attributes:
        creates: whether to create a missing SQLite file.
    """

    def __init__(self, url: URL, *, searches: bool = False) -> None:
        """Does not connect yet.

        Args:
            searches: at most two connections, and ten seconds per query, so that searches take
                nothing from writers.

        Raises:
            MissingExtraError: PostgreSQL's driver is not installed.
        """
        self.url = url
        self.creates = not searches
        self._file = Path(url.database or "") if url.drivername.startswith("sqlite") else None
        self._identity: tuple[int, int] | None = None
        make = self._sqlite if self._file is not None else _postgresql
        self._engine = make(url, searches=searches)
        self._errors = _driver_errors() if self._file is None else ()
        self._writer = self._engine.execution_options(**{_WRITES: True})

    @property
    def dialect(self) -> Any:
        """SQLAlchemy's engine."""
        return self._engine.dialect

    def insert(self, table: Table) -> Any:
        """An INSERT that supports ON CONFLICT."""
        return (postgresql if self.dialect.name == "postgresql" else sqlite).insert(table)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading.

        Raises:
            StoreError: the database cannot be reached, or rejects the query.
        """
        with _explained(self.url, self._errors):
            await self._check_file()
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for writing.

        Raises:
            StoreError: the database cannot be reached, or rejects the query.
        """
        with _explained(self.url, self._errors):
            await self._check_file()
            async with self._writer.begin() as connection:
                yield connection

    async def rows(self, query: Any) -> list[dict[str, Any]]:
        """A query's rows, by the names of their columns."""
        async with self.reading() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def tuples(self, query: Any) -> list[Any]:
        """A query's rows."""
        async with self.reading() as connection:
            return list((await connection.execute(query)).all())

    async def close(self) -> None:
        """Closes the connections."""
        await self._engine.dispose()

    async def _check_file(self) -> None:
        """Raises `OSError` if the open file no longer has its name, so that what is written to it is lost.

        The next connection opens whatever file then has that name.
        """
        if self._file is None or self._identity in (None, _identity(self._file)):
            return
        self._identity = None
        await self._engine.dispose()
        raise FileNotFoundError("its file was moved, deleted or replaced")

    def _sqlite(self, url: URL, *, searches: bool) -> AsyncEngine:
        pool = _SEARCHES if searches else _POOL
        engine = create_async_engine(url, **pool, connect_args={"timeout": _BUSY_S})
        event.listen(engine.sync_engine, "do_connect", self._find_file)
        event.listen(engine.sync_engine, "connect", self._note_file)
        event.listen(engine.sync_engine, "connect", _prepare)
        event.listen(engine.sync_engine, "invalidate", _roll_back)
        if searches:
            event.listen(engine.sync_engine, "connect", _limit)
            event.listen(engine.sync_engine, "begin", _begin_search)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    def _find_file(self, *_: object) -> None:
        """Creates a file that only its owner may read, since it may hold prompts."""
        assert self._file is not None
        if self.creates:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.touch(mode=0o600)
        elif not self._file.exists():
            raise FileNotFoundError("its file is gone: put it back, or restart the server to create a new one")

    def _note_file(self, *_: object) -> None:
        assert self._file is not None
        self._identity = _identity(self._file)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _postgresql(url: URL, *, searches: bool) -> AsyncEngine:
    if find_spec("asyncpg") is None:
        raise MissingExtraError("asyncpg", "postgres")
    arguments: dict[str, Any] = {"timeout": _CONNECT_S, "command_timeout": _COMMAND_S}
    if searches:
        arguments |= {"command_timeout": _SEARCH_S, "server_settings": {"statement_timeout": f"{1000 * _SEARCH_S:.0f}"}}
    return create_async_engine(url, **(_SEARCHES if searches else _POOL), pool_pre_ping=True, connect_args=arguments)


def _limit(connection: Any, record: Any) -> None:
    """Ends a search when its time is up."""
    record.info[_UNTIL] = time.monotonic() + _SEARCH_S

    def is_late() -> bool:
        return bool(time.monotonic() > record.info[_UNTIL])

    connection.run_async(lambda raw: raw.set_progress_handler(is_late, _CHECK_EVERY))


def _begin_search(connection: Connection) -> None:
    connection.info[_UNTIL] = time.monotonic() + _SEARCH_S


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {int(1000 * _BUSY_S)}", "journal_mode = WAL", "synchronous = NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _roll_back(connection: Any, _: object, __: object) -> None:
    """Ends the transaction of a connection whose task was cancelled, before the connection is closed.

    SQLite keeps a closed connection, with its lock on the file, for as long as a statement of it is unfinished, and the
    cancelled task's is until the garbage collector comes by.
    """
    rolling = asyncio.ensure_future(connection.driver_connection.rollback())
    _ROLLING.add(rolling)
    rolling.add_done_callback(_rolled_back)


def _rolled_back(rolling: "asyncio.Future[None]") -> None:
    _ROLLING.discard(rolling)
    if not rolling.cancelled() and (error := rolling.exception()) is not None:
        _LOG.debug("a transaction could not be rolled back: %s", error)  # its connection is closed already


def _begin(connection: Connection) -> None:
    """Takes the write lock before writing, while it can still be waited for."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _driver_errors() -> tuple[type[Exception], ...]:
    """Errors of PostgreSQL's driver while connecting, which SQLAlchemy 2.0 passes on unchanged.

    A server that is starting, stopping or full raises them.
    """
    errors = import_module("asyncpg.exceptions")
    return errors.PostgresError, errors.InterfaceError, errors.InternalClientError


@contextmanager
def _explained(url: URL, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns a driver's errors into one that names the database, without its password."""
    kinds: tuple[type[Exception], ...] = (SQLAlchemyError, OSError, TimeoutError, OverflowError, UnicodeError, *errors)
    try:
        yield
    except kinds as error:
        cause = getattr(error, "orig", None) or error
        text = str(cause).partition("\n")[0].rpartition(">: ")[2] or type(cause).__name__
        if isinstance(error, PoolTimeoutError):
            text = "all connections are busy: try again later"
        elif "statement timeout" in text or text == "interrupted":
            text = f"the search took longer than {_SEARCH_S:g} s: narrow it, or search a copy of the database"
        kind = RowError if _refuses_values(error) else StoreError
        raise kind(f"store {_shown(url)}: {text}") from error


def _shown(url: URL) -> str:
    """The URL without secrets."""
    plain = url.set(drivername=url.get_backend_name(), query={})
    return plain.render_as_string(hide_password=True)


def _refuses_values(error: BaseException) -> bool:
    """Whether the same would fail again even if the database works."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, (OverflowError, UnicodeError))
    cause: Any = error.orig
    state = str(getattr(cause, "sqlstate", None) or "")
    # 22: data exceptions, 23: broken constraints; asyncpg's own are ValueErrors
    return state[:2] in ("22", "23") or isinstance(cause.__cause__, ValueError) or "constraint failed" in str(cause)
