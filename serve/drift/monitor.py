"""Watches every router of a server, off the request path."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import numpy as np
from prometheus_client import CollectorRegistry, Gauge

from pointsman.core.arrays import Float32Array
from pointsman.core.errors import PointsmanError
from pointsman.serve.config.drift import DriftConfig
from pointsman.serve.drift.watch import Alarm, Watch
from pointsman.serve.policy.outage import Outage
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.request.record import Record

__all__ = ["DriftMonitor", "StatusStore"]

_LOG = logging.getLogger(__name__)
_PAUSE_S = 0.5
_LOOK_EVERY = 10  # pauses between two looks at what other processes found
_TAKEN_AT_ONCE = 16  # prompts, a fraction of a millisecond
_MAX_WAITING = 10_000
_Prompt: TypeAlias = tuple[float, Float32Array | None, str | None]


class StatusStore(Protocol):
    """Where facts are kept that processes share."""

    async def status(self, name: str) -> Any | None: ...

    async def set_status(self, name: str, value: Any) -> Any: ...


class DriftMonitor:
    """Collects the prompts of finished requests, tests them periodically, and remembers alarms.

    With a store, alarms outlive a restart and are shared by all processes.
    """

    def __init__(
        self,
        config: DriftConfig,
        store: Callable[[], StatusStore | None] = lambda: None,
        *,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Watches nothing before `show`.

        Args:
            store: gives the store, where there is one.
            registry: of the metric that shows alarms; one of its own if None.
        """
        self.config = config
        self._store = store
        self._outage = Outage(_LOG, "drift alarms could not be kept")
        self._rng = np.random.default_rng()
        self._watches: dict[str, Watch] = {}
        self._thresholds: dict[str, Mapping[str, Any]] = {}
        self._versions: dict[str, int] = {}
        self._unkept: set[str] = set()
        self._waiting: deque[tuple[str, _Prompt]] = deque(maxlen=_MAX_WAITING)
        self._alarms = Gauge(
            "pointsman_drift_alarm",
            "1 while the drift alarm of the router is on.",
            ["router"],
            registry=registry or CollectorRegistry(),
            multiprocess_mode="livemax",
        )
        self._is_new = False
        self._turn = asyncio.Lock()  # what was read before a reset must not be taken over after it
        self._task: asyncio.Task[None] | None = None

    def reconfigure(self, routers: Mapping[str, ServedRouter]) -> None:
        """Watches these routers from now on; one whose reference is the same as before goes on."""
        before, self._watches = self._watches, {}
        for name, served in routers.items():
            watch = Watch(served.reference, self.config, rng=self._rng)
            old = before.get(name)
            self._watches[name] = old if old is not None and old.identity == watch.identity else watch
            self._thresholds[name] = served.thresholds
        self._is_new = True
        self._show_gauges()

    def __call__(self, record: Record) -> None:
        """A request has ended."""
        context, decision = record.context, record.decision
        if context is None or decision is None or decision.router is None or context.win_rate is None:
            return
        if context.surface.charged:  # counting tokens asks about a prompt that is asked again
            key = None if context.key is None else context.key.id
            self._waiting.append((decision.router, (context.win_rate, context.embedding, key)))

    def falls_back(self, router: str, key: str | None = None) -> bool:
        """Whether the router's prompts are to go to the strong model: everybody's, or those of a key."""
        watch = self._watches.get(router)
        return self.config.on_alarm == "strong" and watch is not None and watch.is_on(key)

    @property
    def by_traffic(self) -> bool:
        """Whether prompts are compared with the traffic itself, so that a reset begins with what comes then."""
        return self.config.reference == "traffic"

    def alarm(self, router: str) -> str | None:
        """What identifies the alarm of a router; None while there is none."""
        watch = self._watches.get(router)
        return None if watch is None or watch.alarm is None else f"{watch.identity} {watch.alarm.at:.3f}"

    def status(self) -> dict[str, Any]:
        """What is watched and what was found, as JSON types."""
        return {
            "on_alarm": self.config.on_alarm,
            "false_alarm_rate": self.config.false_alarm_rate,
            "per_prompts": 10_000,
            "routers": {name: self._router_status(name, watch) for name, watch in self._watches.items()},
        }

    async def reset(self, router: str | None = None) -> list[str]:
        """Resets the alarm of a router, or of all; returns the names of the routers that were reset."""
        async with self._turn:
            names = [name for name in self._watches if router in (None, name)]
            for name in names:
                self._watches[name].reset()
                await self._keep(name)
        self._show_gauges()
        return names

    async def start(self) -> None:
        """Begins to watch; the alarms of the past are read with the first turn."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Tests what is waiting, and ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self._take_waiting()

    async def _run(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(_PAUSE_S)
            turn += 1
            async with self._turn:
                await self._take_waiting()
                if self._is_new or turn % _LOOK_EVERY == 0:
                    self._is_new = False
                    await self.load()

    async def _take_waiting(self) -> None:
        while self._waiting:
            prompts: dict[str, list[_Prompt]] = {}
            for _ in range(min(_TAKEN_AT_ONCE, len(self._waiting))):
                name, prompt = self._waiting.popleft()
                prompts.setdefault(name, []).append(prompt)
            for name, taken in prompts.items():
                if name in self._watches and _take(name, self._watches[name], taken):
                    self._warn(name, self._watches[name])
                    await self._keep(name)
            await asyncio.sleep(0)

    def _warn(self, name: str, watch: Watch) -> None:
        self._show_gauges()
        if watch.alarm is None:
            _LOG.warning(
                "drift: prompts of key %s alone are not what router %s was calibrated on; the alarm is that key's",
                list(watch.key_alarms)[-1], name,
            )  # fmt: skip
            return
        then = (
            "routed prompts all go to the strong model (of more candidates the reference) now"
            if self.config.on_alarm == "strong"
            else "routing goes on"
        )
        _LOG.warning(
            "drift: the %s of router %s is not what it was in %s (after %d prompts); "
            "its guarantees are void, %s; calibrate it on live prompts, then POST /v1/drift/reset",
            watch.alarm.test, name, watch.status()["reference"], watch.alarm.n_prompts, then,
        )  # fmt: skip

    async def _keep(self, name: str) -> None:
        """Writes a router's alarm, or that there is none, for other processes and for the next start."""
        watch, store = self._watches[name], self._store()
        if store is None:
            return
        found = {each: watch.status()[each] for each in ("alarm", "key_alarms")}
        try:
            await store.set_status(_key(name), {"identity": watch.identity, **found})
            row = await store.status(_key(name))
        except PointsmanError as error:
            self._unkept.add(name)
            self._outage.failed(error)
        else:
            self._outage.over()
            self._unkept.discard(name)
            self._versions[name] = getattr(row, "version", 0)

    async def load(self) -> None:
        """Takes over what another process found, or reset, since the last time."""
        store = self._store()
        if store is None:
            return
        for name in self._unkept & self._watches.keys():
            await self._keep(name)
        for name, watch in list(self._watches.items()):
            with suppress(PointsmanError):  # the store says itself that it is away; the next look is soon
                row = await store.status(_key(name))
                if row is None or row.version == self._versions.get(name):
                    continue
                self._versions[name] = row.version
                if row.value["identity"] == watch.identity:
                    self._adopt(watch, row.value["alarm"], row.value.get("key_alarms", {}))
                    if watch.key_alarms.keys() != row.value.get("key_alarms", {}).keys():
                        self._unkept.add(name)
        self._show_gauges()

    def _adopt(self, watch: Watch, alarm: dict[str, Any] | None, of_keys: Mapping[str, dict[str, Any]]) -> None:
        if alarm is None and not of_keys:
            watch.reset()
        watch.key_alarms |= {key: Alarm(**each) for key, each in of_keys.items()}
        if alarm is not None and watch.alarm is None:
            watch.alarm = Alarm(**alarm)

    def _router_status(self, name: str, watch: Watch) -> dict[str, Any]:
        state = "void" if watch.alarm is not None else "held"
        return {**watch.status(), "guarantees": dict.fromkeys(self._thresholds[name], state)}

    def _show_gauges(self) -> None:
        for name, watch in self._watches.items():
            self._alarms.labels(name).set(watch.alarm is not None)


def _take(name: str, watch: Watch, prompts: list[_Prompt]) -> bool:
    try:
        return watch.take(prompts)
    except ValueError as error:  # an embedder that gives NaN must not end the watch
        _LOG.warning("drift: prompts of router %s were not tested: %s", name, error)
        return False


def _key(router: str) -> str:
    return f"drift {router}"
