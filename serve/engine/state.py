"""The state of a server process that survives requests and reloads of the configuration."""

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar
from zoneinfo import ZoneInfo

from prometheus_client.registry import CollectorRegistry

from pointsman.core.expected_cost import AnswerTokens
from pointsman.serve.config import AutopilotConfig, Config, StoreConfig
from pointsman.serve.engine.expected_bills import LearnAnswerTokens
from pointsman.serve.engine.steps.count_decision import CountSpending
from pointsman.serve.money.leases import Leases
from pointsman.serve.money.ledger import Ledger
from pointsman.serve.money.metrics import MoneyMetrics
from pointsman.serve.observers.cascade_tally import CascadeTally
from pointsman.serve.observers.cascades import CascadeMetrics
from pointsman.serve.observers.live import LiveHub
from pointsman.serve.policy.state import PolicyState
from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.makers import Makers
from pointsman.serve.request.record import Observer
from pointsman.serve.request.worker_sessions import SESSIONS_VARIABLE, SharedModels, WorkerSessions

if TYPE_CHECKING:
    from pointsman.serve.autopilot.autopilot import Autopilot
    from pointsman.serve.drift.monitor import DriftMonitor
    from pointsman.serve.feedback.shadow import Shadow
    from pointsman.serve.observers.tracing import Tracing
    from pointsman.serve.store.keyring import StoreKeyRing
    from pointsman.serve.store.store import Store
    from pointsman.serve.store.writer import Writer

__all__ = ["Component", "ServerState"]

_LOG = logging.getLogger(__name__)
_ANSWER_TOKENS = 300.0  # expected until answers have been seen
_MARGIN_S = 1.0  # beyond the time for rows to be written, to say what was lost
_HAND_OVER_S = 0.25  # for rows that are on their way to the writer
_STORE_S = 2.0  # for its connections to be closed


class Component(Protocol):
    """Started before the first request and closed after the last."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


Part = TypeVar("Part", bound=Component)
Observes = TypeVar("Observes", bound=Observer)


class ServerState:
    """The parts of a process that outlive its engines. A part that is not configured is None.

    Attributes:
        store: of decisions, feedback, keys and spending.
        writer: puts rows into the store, off the request path.
        keys: the access keys in the store, if configured.
        ledger: what was spent.
        drift: watches whether prompts still resemble those of the calibration.
        shadow: compares answers of the weak model with the strong one's.
        autopilot: keeps the certificate, and selects requests to compare for it.
        comparer: makes its comparisons.
        live: shows requests as they happen.
        leases: the parts of hard budgets that this process may spend.
        answer_tokens: how long each model's answers are.
        sessions: models of conversations that other processes could not derive.
        policies: state of the policies.
        makers: which model made what later requests refer to.
        tracing: spans of served requests.
        cascades: metrics of cascades.
        cascade_tally: likewise, for the dashboard.
        refused_logprobs: models that rejected requests for log-probabilities.
        in_step: keeps requests that are served at the same time in step.
        registry: the Prometheus metrics of these parts.
        observers: get the record of every finished request, in this order; they must not block.
    """

    store: "Store | None" = None
    sessions: SharedModels | None = None
    writer: "Writer | None" = None
    keys: "StoreKeyRing | None" = None
    drift: "DriftMonitor | None" = None
    live: LiveHub | None = None
    shadow: "Shadow | None" = None
    autopilot: "Autopilot | None" = None
    comparer: "Shadow | None" = None
    tracing: "Tracing | None" = None

    def __init__(self, config: Config) -> None:
        """Makes the configured parts; opens nothing before `start`."""
        self.observers: tuple[Observer, ...] = ()
        self.in_step = InStep()
        self.registry = CollectorRegistry()
        self._components: list[Component] = []
        self._n_started = 0
        self._close_s = (config.store.drain_s if config.store is not None else 0.0) + _MARGIN_S
        if config.store is not None:
            self._add_store(config.store, keys=config.server.keys == "store")
        elif config.policy.budgets:
            _LOG.warning("policy.budgets without a store: each process counts its own spending, from zero at its start")
        self.ledger = self._observe(self._add(Ledger(self.store, zone=ZoneInfo(config.policy.timezone))))
        if self.writer is not None:
            self.writer.spending = self.ledger
        self.leases = self._add(Leases(self.ledger, self.store, registry=self.registry))
        guess = config.sessions.output_tokens if config.sessions is not None else _ANSWER_TOKENS
        self.answer_tokens = AnswerTokens(guess=guess)
        self._observe(LearnAnswerTokens(self.answer_tokens))
        if config.sessions is not None:
            self.sessions = self._share_sessions(config.sessions.ttl_s)
        self.policies = self._add(PolicyState(lambda: self.store))
        self._observe(CountSpending(self.policies))
        self.makers = self._observe(Makers())
        money = self._observe(MoneyMetrics(self.registry))
        self.refused_logprobs: set[str] = set()
        self.cascades = self._observe(CascadeMetrics(self.registry))
        self.cascade_tally = self._observe(CascadeTally())
        if config.shadow is not None and self.writer is not None:
            from pointsman.serve.feedback.shadow import Shadow

            self.shadow = self._observe(
                self._add(
                    Shadow(
                        config.shadow,
                        ledger=self.ledger,
                        money=money,
                        put=self.writer.put,
                        registry=self.registry,
                        refused_logprobs=self.refused_logprobs,
                        keep_characters=_kept_characters(config.store),
                    )
                )
            )
        if config.autopilot is not None and self.store is not None and self.writer is not None:
            self._add_autopilot(config.autopilot, self.store, self.writer, money)
        if config.dashboard.enabled:
            shown = config.store is None or config.store.prompts == "text"
            self.live = self._observe(self._add(LiveHub(max_watchers=config.dashboard.watchers, prompts=shown)))
        if config.drift is not None:
            from pointsman.serve.drift.monitor import DriftMonitor

            self.drift = self._observe(
                self._add(DriftMonitor(config.drift, lambda: self.store, registry=self.registry))
            )
        if config.telemetry.traces:
            from pointsman.serve.observers.tracing import Tracing

            self.tracing = self._observe(self._add(Tracing()))

    async def start(self) -> None:
        """Starts the components in order; if one fails, closes those already started."""
        try:
            for component in self._components:
                await component.start()
                self._n_started += 1
        except BaseException:
            await self.close()
            raise

    async def load(self) -> None:
        """Reads the store, for decisions outside a server; no component runs, and only the store is open."""
        if self.store is not None:
            await self.store.start()
            await self.ledger.sync()
            await self.policies.load()
            if self.drift is not None:
                await self.drift.load()

    async def close(self) -> None:
        """Closes the started components concurrently, within one deadline, and then the store.

        The writer closes a moment after the others, or when they are done, so that it gets their last rows.
        """
        started, self._n_started = self._components[: self._n_started], 0
        parts = [each for each in reversed(started) if each not in (self.store, self.writer)]
        closing = [asyncio.create_task(each.close()) for each in parts]
        if closing:
            await asyncio.wait(closing, timeout=_HAND_OVER_S)
        if self.writer in started and self.writer is not None:
            closing.append(asyncio.create_task(self.writer.close()))
        await _finish(closing, self._close_s)
        if self.store in started and self.store is not None:
            await _finish([asyncio.create_task(self.store.close())], _STORE_S)

    def _share_sessions(self, ttl_s: float) -> SharedModels | None:
        """Where processes share the models of conversations: workers in a table, servers in the store."""
        shared: SharedModels | None = None
        if self.store is not None:
            from pointsman.serve.store.shared_sessions import SharedSessions

            shared = self._add(SharedSessions(self.store, ttl_s=ttl_s))
        if folder := os.environ.get(SESSIONS_VARIABLE):
            shared = WorkerSessions(folder, ttl_s=ttl_s, behind=shared)
        return shared

    def _add_autopilot(self, config: AutopilotConfig, store: "Store", writer: "Writer", money: MoneyMetrics) -> None:
        from pointsman.serve.autopilot.autopilot import Autopilot
        from pointsman.serve.feedback.shadow import Shadow

        self.comparer = Shadow(
            config.comparisons(),
            ledger=self.ledger,
            money=money,
            put=writer.put,
            registry=CollectorRegistry(),
            refused_logprobs=self.refused_logprobs,
            keep_characters=_kept_characters(store.config),
        )
        autopilot = Autopilot(
            config,
            store=store,
            put=writer.put,
            compare=self.comparer.compare,
            ask=self.comparer.ask,
            registry=self.registry,
            in_step=self.in_step,
        )
        self.autopilot = self._observe(self._add(autopilot))

    def _add_store(self, config: StoreConfig, *, keys: bool) -> None:
        """Sets up a store: writes its rows, deletes old ones and follows its keys.

        Raises:
            ConfigError: its URL is malformed, or the variable that holds it is not set.
            MissingExtraError: PostgreSQL's driver is not installed.
        """
        from pointsman.serve.store.keyring import StoreKeyRing
        from pointsman.serve.store.metrics import StoreMetrics
        from pointsman.serve.store.recorder import Recorder
        from pointsman.serve.store.retention import Retention
        from pointsman.serve.store.store import Store
        from pointsman.serve.store.writer import Writer

        metrics = StoreMetrics(self.registry)
        self.store = self._add(Store(config))
        self.writer = self._add(Writer(self.store, metrics=metrics))
        self._add(Retention(self.store, metrics=metrics))
        if keys:
            self.keys = self._add(StoreKeyRing(self.store))
        self._observe(self._add(Recorder(self.store, self.writer.put, in_step=self.in_step)))

    def _add(self, component: Part) -> Part:
        self._components.append(component)
        return component

    def _observe(self, observer: Observes) -> Observes:
        self.observers = (*self.observers, observer)
        return observer


async def _finish(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Waits for tasks, and cancels those that take too long.

    Raises:
        Exception: the first one raised by a task.
    """
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        _LOG.error("%d components did not close within %g s: a database may hang", len(late), seconds)
        await asyncio.wait(late, timeout=_MARGIN_S)
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error


def _kept_characters(store: StoreConfig | None) -> int:
    """How many characters of compared answers to keep."""
    return store.prompt_characters if store is not None and store.prompts == "text" else 0
