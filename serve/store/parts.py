"""The parts of a server that keep its store."""

from pointsman.serve.config import StoreConfig
from pointsman.serve.engine.state import Memory
from pointsman.serve.store.keyring import StoreKeyRing
from pointsman.serve.store.metrics import StoreMetrics
from pointsman.serve.store.recorder import Recorder
from pointsman.serve.store.retention import Retention
from pointsman.serve.store.store import Store
from pointsman.serve.store.writer import Writer

__all__ = ["keep_store"]


def keep_store(memory: Memory, config: StoreConfig, *, keys: bool) -> None:
    """Has `memory` keep a store: its rows are written, its old ones deleted, its keys followed.

    Args:
        keys: whether the access keys are in it.

    Raises:
        ConfigError: its URL is malformed, or the variable that holds it is not set.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    metrics = StoreMetrics(memory.registry)
    store = memory.store = memory.keep(Store(config))
    writer = memory.writer = memory.keep(Writer(store, metrics=metrics))
    memory.keep(Retention(store, metrics=metrics))
    if keys:
        memory.keys = memory.keep(StoreKeyRing(store))
    memory.observe(memory.keep(Recorder(store, writer.put)))
