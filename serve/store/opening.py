"""Opens a store for a command, by its URL or by the configuration that names it."""

import asyncio

from pointsman.core.errors import ConfigError
from pointsman.serve.config import Config, StoreConfig
from pointsman.serve.config_file import make_config, read_values
from pointsman.serve.store.store import Store

__all__ = ["check_store", "open_store"]


def open_store(url: str | None = None, *, config: str | None = None) -> Store:
    """A store to be used in an `async with` block, which connects.

    Args:
        url: as `store.url`.
        config: path of a configuration file with a store in it; read where `url` is None.

    Raises:
        ConfigError: neither is given, the configuration has no store, or the URL is malformed.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    if url is not None:
        return Store(_from_url(url))
    if config is None:
        raise ConfigError("no store is named, wanted --store URL or --config FILE")
    found: Config = make_config(read_values(config), source=f"config file {config}")
    if found.store is None:
        raise ConfigError(f"config file {config} has no store, wanted one, e.g. store: {{}}; or give --store URL")
    return Store(found.store)


def check_store(config: StoreConfig) -> None:
    """Connects to a store, brings its tables up to date, and closes it.

    Raises:
        ConfigError: its URL is malformed, or a variable is not set.
        MissingExtraError: PostgreSQL's driver is not installed.
        StoreError: it cannot be reached, or a later version has served on it.
    """
    asyncio.run(_start_and_close(Store(config)))


async def _start_and_close(store: Store) -> None:
    await store.start()
    await store.close()


def _from_url(url: str) -> StoreConfig:
    found = make_config({"store": {"url": url}}, source="--store").store
    assert found is not None
    return found
