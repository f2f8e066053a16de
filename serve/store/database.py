"""Engines for SQLite and PostgreSQL."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pointsman.core.errors import ConfigError, MissingExtraError

__all__ = ["make_engine", "read_url", "writing"]

_BUSY_S = 5.0
_CONNECT_S = 5.0
_COMMAND_S = 30.0
_WRITES = "pointsman_writes"


def read_url(reference: str) -> URL:
    """The database's URL, with the driver that speaks to it. Its password, if it has one, shows in no repr.

    Args:
        reference: a URL, or env:NAME of the variable that holds it.

    Raises:
        ConfigError: the variable is not set, or the URL is malformed or names no file.
    """
    text, source = reference, "store.url"
    if reference.startswith("env:"):
        source = f"environment variable {reference[4:]}"
        text = os.environ.get(reference[4:], "").strip()
    try:
        url = make_url(text)
        drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
        url = url.set(drivername=drivers[url.drivername])
    except (ArgumentError, KeyError, ValueError):
        raise ConfigError(
            f"{source} holds no database URL, wanted sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        ) from None
    if url.drivername.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise ConfigError(f"{source} names no file, wanted sqlite:///PATH: what is kept in memory only is not kept")
    if "sslmode" in url.query:  # libpq's word for what asyncpg calls ssl
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})
    return url


def make_engine(url: URL) -> AsyncEngine:
    """An engine that connects when it is first used.

    Raises:
        MissingExtraError: the database's driver is not installed.
    """
    if url.drivername.startswith("sqlite"):
        return _sqlite(url)
    try:
        import asyncpg  # noqa: F401  (whether it is there)
    except ImportError:
        raise MissingExtraError("asyncpg", "postgres") from None
    arguments = {"timeout": _CONNECT_S, "command_timeout": _COMMAND_S}
    return create_async_engine(
        url, pool_size=4, max_overflow=4, pool_timeout=_CONNECT_S, pool_pre_ping=True, connect_args=arguments
    )


def writing(engine: AsyncEngine) -> AsyncEngine:
    """The same engine for transactions that write."""
    return engine.execution_options(**{_WRITES: True})


def _sqlite(url: URL) -> AsyncEngine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url, pool_size=4, max_overflow=4, connect_args={"timeout": _BUSY_S})
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"busy_timeout = {int(1000 * _BUSY_S)}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Takes the write lock first where there is going to be writing: one cannot wait for it later."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
