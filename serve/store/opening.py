"""Opens a store for a command, by URL or from the configuration."""

import asyncio
import os
from pathlib import Path

from pointsman.core.errors import ConfigError, StoreError
from pointsman.serve.config import Config, StoreConfig
from pointsman.serve.config.load import make_config, read_values
from pointsman.serve.store.store import Store
from pointsman.serve.store.url import read_url

__all__ = ["check_store", "open_store"]


def open_store(url: str | None = None, *, config: str | None = None, create: bool = False) -> Store:
    """A store to be used in an `async with` block, which connects.

    Args:
        url: as `store.url`.
        config: path of a configuration file with a store in it; read where `url` is None.
        create: create a missing SQLite file.

    Raises:
        ConfigError: neither is given, the configuration has no store, the URL is malformed, or its file does not exist.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    found = _from_url(url) if url is not None else _from_file(config)
    where = read_url(found.url)
    if not create and where.get_backend_name() == "sqlite" and not Path(where.database or "").is_file():
        raise ConfigError(f"store {where} does not exist; a server that is configured with it creates it")
    return Store(found)


def check_store(config: StoreConfig, *, create: bool = True) -> None:
    """Connects to a store, brings its tables up to date, and closes it.

    Args:
        create: create the file of a SQLite store; otherwise only check that it could be created.

    Raises:
        ConfigError: its URL is malformed, or a variable is not set.
        MissingExtraError: PostgreSQL's driver is not installed.
        StoreError: it cannot be reached, or a newer version has used it.
    """
    url = read_url(config.url)
    if not create and url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        folder = Path(str(url.database)).absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StoreError(f"store sqlite:///{url.database} cannot be created: {folder} is not a writable folder")
        return
    asyncio.run(_start_and_close(Store(config)))


async def _start_and_close(store: Store) -> None:
    await store.start()
    await store.close()


def _from_file(config: str | None) -> StoreConfig:
    if config is None:
        raise ConfigError("no store is named, wanted --store URL or --config FILE")
    found: Config = make_config(read_values(config), source=f"config file {config}")
    if found.store is None:
        raise ConfigError(f"config file {config} has no store, wanted one, e.g. store: {{}}; or give --store URL")
    return found.store


def _from_url(url: str) -> StoreConfig:
    found = make_config({"store": {"url": url}}, source="--store").store
    assert found is not None
    return found
