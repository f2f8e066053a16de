"""What a server remembers from one request to the next, and across reloads of its configuration."""

import logging
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry

from pointsman.serve.config import Config
from pointsman.serve.money.ledger import Ledger
from pointsman.serve.money.metrics import MoneyMetrics
from pointsman.serve.observers.live import LiveHub
from pointsman.serve.policy.state import PolicyMemory
from pointsman.serve.request.record import Observer

if TYPE_CHECKING:
    from pointsman.serve.drift.monitor import DriftMonitor
    from pointsman.serve.feedback.shadow import Shadow
    from pointsman.serve.observers.tracing import Tracing
    from pointsman.serve.store.keyring import StoreKeyRing
    from pointsman.serve.store.store import Store
    from pointsman.serve.store.writer import Writer

__all__ = ["Keeper", "Memory"]

_LOG = logging.getLogger(__name__)


class Keeper(Protocol):
    """Something that is kept: it is started before the first request and closed after the last."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


K = TypeVar("K", bound=Keeper)


class Memory:
    """What a process keeps. A part is None where the configuration that the process was started with has none.

    Attributes:
        store: of decisions, feedback, keys and spending.
        writer: puts rows into the store, off the request path.
        keys: the access keys in the store, where the configuration says that they are there.
        ledger: what was spent.
        drift: watches whether prompts still are like those of the calibration.
        shadow: compares answers of the weak model with the strong one's.
        live: shows what happens now.
        policies: state of the policies.
        tracing: spans of what is served.
        registry: the Prometheus metrics of these parts.
        observers: shown the record of every request that has ended, in this order; they must return at once.
    """

    def __init__(self) -> None:
        """Remembers nothing."""
        self.store: Store | None = None
        self.writer: Writer | None = None
        self.keys: StoreKeyRing | None = None
        self.ledger: Ledger | None = None
        self.drift: DriftMonitor | None = None
        self.live: LiveHub | None = None
        self.shadow: Shadow | None = None
        self.tracing: Tracing | None = None
        self.policies = PolicyMemory(lambda: self.store)
        self.observers: tuple[Observer, ...] = ()
        self.registry = CollectorRegistry()
        self._keepers: list[Keeper] = []
        self._started = 0

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Keeps what a configuration asks for; nothing is opened before `start`."""
        memory = cls()
        if config.store is not None:
            from pointsman.serve.store.parts import keep_store

            keep_store(memory, config.store, keys=config.server.keys == "store")
        elif config.policy.budgets:
            _LOG.warning(
                "policy.budgets without a store: each process counts for itself, and from nothing when it starts"
            )
        memory.ledger = memory.keep(Ledger(memory.store, zone=ZoneInfo(config.policy.timezone)))
        memory.observe(memory.ledger)
        memory.observe(memory.keep(memory.policies))
        money = MoneyMetrics(memory.registry)
        memory.observe(money)
        if config.shadow is not None and memory.writer is not None:
            from pointsman.serve.feedback.shadow import Shadow

            memory.shadow = memory.keep(
                Shadow(
                    config.shadow, ledger=memory.ledger, money=money, put=memory.writer.put, registry=memory.registry
                )
            )
            memory.observe(memory.shadow)
        if config.dashboard.enabled:
            shown = config.store is None or config.store.prompts == "text"
            memory.live = memory.keep(LiveHub(max_watchers=config.dashboard.watchers, prompts=shown))
            memory.observe(memory.live)
        if config.drift is not None:
            from pointsman.serve.drift.monitor import DriftMonitor

            memory.drift = memory.keep(DriftMonitor(config.drift, lambda: memory.store, registry=memory.registry))
            memory.observe(memory.drift)
        if config.telemetry.traces:
            from pointsman.serve.observers.tracing import Tracing

            memory.tracing = memory.keep(Tracing())
            memory.observe(memory.tracing)
        return memory

    def keep(self, keeper: K) -> K:
        """Has `keeper` started after those before it, and closed before them."""
        self._keepers.append(keeper)
        return keeper

    def observe(self, observer: Observer) -> None:
        """Shows `observer` the record of every request that has ended."""
        self.observers = (*self.observers, observer)

    async def start(self) -> None:
        """Starts the keepers, in their order; those that did start are closed again where one fails."""
        try:
            for keeper in self._keepers:
                await keeper.start()
                self._started += 1
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes those that were started, the last first."""
        while self._started:
            self._started -= 1
            await self._keepers[self._started].close()
