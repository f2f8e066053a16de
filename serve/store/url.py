"""The database's URL."""

import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from pointsman.core.errors import ConfigError

__all__ = ["holds_a_store", "read_url"]

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_OPTIONS: dict[str, set[str]] = {
    "sqlite": set(),
    "postgresql": {"host", "port", "ssl", "sslmode", "prepared_statement_cache_size"},
}


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
        url = url.set(drivername=_DRIVERS[url.drivername])
    except (ArgumentError, KeyError, ValueError):
        raise ConfigError(
            f"{source} holds no database URL, wanted sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        ) from None
    if url.drivername.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise ConfigError(f"{source} names no file, wanted sqlite:///PATH: what is kept in memory only is not kept")
    if unknown := sorted(set(url.query) - _OPTIONS[url.get_backend_name()]):
        known = ", ".join(sorted(_OPTIONS[url.get_backend_name()])) or "none"
        raise ConfigError(f"{source} has options {', '.join(unknown)}, wanted only: {known}")
    if "sslmode" in url.query:  # libpq's word for what asyncpg calls ssl
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})
    return url


def holds_a_store(reference: str) -> bool:
    """Whether there may be a store at a URL: always for a server, only where the file exists for SQLite."""
    url = read_url(reference)
    return not url.drivername.startswith("sqlite") or Path(url.database or "").exists()
