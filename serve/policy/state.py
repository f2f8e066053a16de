"""Policy state; survives reloads, and restarts with a store."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from pointsman.core.errors import StoreError
from pointsman.core.recent import RecentWinRates
from pointsman.core.sessions import Sessions
from pointsman.core.share_control import ShareControl
from pointsman.core.traffic import TrafficShape
from pointsman.serve.config import SettingConfig
from pointsman.serve.policy.budget import Budget, Reservation
from pointsman.serve.policy.largest_costs import LargestCosts
from pointsman.serve.policy.live_share import LiveShare
from pointsman.serve.policy.outage import Outage

__all__ = ["PolicyState", "StatusStore"]

_LOG = logging.getLogger(__name__)
_STATE = "policy state"
_OVERRIDE = "policy override"
_SAVE_EVERY = 15  # turns of the loop
_TURN_S = 2.0
_MAX_KEY_BUDGETS = 10_000
_MAX_SHARES = 10_000
T = TypeVar("T")


class StatusStore(Protocol):
    """Where facts are kept that processes share."""

    async def status(self, name: str) -> Any | None: ...

    async def set_status(self, name: str, value: Any) -> Any: ...


class PolicyState:
    """The state of every rule, created when first needed.

    Attributes:
        live: strong shares of each router's last requests.
        largest: the largest bills of each model.
    """

    def __init__(self, store: Callable[[], StatusStore | None] = lambda: None) -> None:
        """Starts empty.

        Args:
            store: returns the store, if there is one; called when the state is read or written.
        """
        self._store = store
        self._outage = Outage(_LOG, "the policy state could not be stored")
        self._stored: Mapping[str, Any] = {}
        self._recent: dict[str, RecentWinRates] = {}
        self._shares: OrderedDict[str, ShareControl] = OrderedDict()
        self._budgets: dict[str, tuple[Any, Budget]] = {}
        self._key_budgets: OrderedDict[tuple[str, str], tuple[Any, Budget]] = OrderedDict()
        self._traffic: tuple[str, TrafficShape] | None = None
        self._sessions: tuple[tuple[int, float], Sessions] | None = None
        self._task: asyncio.Task[None] | None = None
        self._override: tuple[str, SettingConfig] | None = None
        self._of_override = asyncio.Lock()  # what was read before it is set must not be taken over after that
        self.live: dict[str, LiveShare] = {}
        self.largest = LargestCosts()

    async def start(self) -> None:
        """Reads the stored state, and starts storing it."""
        store = self._store()
        if store is None:
            return
        await self.load()
        self._task = asyncio.get_running_loop().create_task(self._keep_stored(store))

    async def load(self) -> None:
        """Reads the stored state."""
        store = self._store()
        if store is None:
            return
        try:
            row = await store.status(_STATE)
            self._stored = row.value if row is not None and isinstance(row.value, dict) else {}
            await self._read_override(store)
        except StoreError as error:
            _LOG.warning("the policy state could not be read, policies start without it: %s", error)

    async def close(self) -> None:
        """Stores the state for the last time."""
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        store = self._store()
        if store is not None:
            await self._save(store)

    def settle(self, reservations: tuple[Reservation, ...], usd: float | None, *, strong: float) -> None:
        """A request with these reservations has ended; `usd` is None if its cost is unknown."""
        for reservation in reservations:
            reservation.end(usd, strong=strong)
        if usd is not None:
            for _, budget in self._budgets.values():
                if not any(reservation.budget is budget for reservation in reservations):
                    budget.spend_other(usd)

    def override(self, digest: str) -> SettingConfig | None:
        """The setting by which an administrator replaced that of the configuration with this digest, if any."""
        return self._override[1] if self._override is not None and self._override[0] == digest else None

    async def set_override(self, digest: str, setting: SettingConfig | None) -> None:
        """Replaces the configured setting, or restores it if None, here and in the other processes.

        Raises:
            StoreError: the other processes could not be notified.
        """
        store = self._store()
        async with self._of_override:
            self._override = (digest, setting) if setting is not None else None
            if store is not None:
                value = {"digest": digest, "setting": setting.model_dump()} if setting is not None else None
                await store.set_status(_OVERRIDE, value)

    def recent(self, router: str, quantiles: Callable[[], tuple[float, ...]]) -> RecentWinRates:
        """The recent win rates of a router; `quantiles` are its calibration's."""
        if router not in self._recent:
            stored = self._part("recent").get(router)
            self._recent[router] = _restored(RecentWinRates, stored) or RecentWinRates(quantiles())
        return self._recent[router]

    def share(self, name: str, target: float, **sides: bool) -> ShareControl:
        """The controller of a share."""
        control = self._shares.get(name)
        if control is None or control.target != target:
            owed = self._part("owed").get(name, 0.0) if control is None else control.owed
            control = ShareControl(target, owed=owed if isinstance(owed, (int, float)) else 0.0, **sides)
            self._shares[name] = control
            if len(self._shares) > _MAX_SHARES:
                self._shares.popitem(last=False)
        self._shares.move_to_end(name)
        return control

    def traffic(self, zone: str, rates: tuple[float, ...] | None) -> TrafficShape:
        """The usual traffic by the hour of a zone; `rates` until it is learned."""
        if self._traffic is None or self._traffic[0] != zone:
            stored = self._part("traffic") if self._traffic is None else {}
            known = stored.get("rates") if stored.get("zone") == zone else None
            place = ZoneInfo(zone)
            shape = _restored(lambda kept: TrafficShape(kept, zone=place), known) or TrafficShape(rates, zone=place)
            self._traffic = (zone, shape)
        return self._traffic[1]

    def budget(self, name: str, key: str | None, terms: Any, make: Callable[[], Budget]) -> Budget:
        """The state of a budget; starts fresh when its terms change.

        Budgets of single keys that were not used for longest are dropped.
        """
        if key is None:
            if name not in self._budgets or self._budgets[name][0] != terms:
                self._budgets[name] = (terms, make())
            return self._budgets[name][1]
        found = self._key_budgets.get((name, key))
        if found is None or found[0] != terms:
            found = self._key_budgets[name, key] = (terms, make())
        self._key_budgets.move_to_end((name, key))
        if len(self._key_budgets) > _MAX_KEY_BUDGETS:
            self._key_budgets.popitem(last=False)
        return found[1]

    def sessions(self, size: int, ttl_s: float) -> Sessions:
        """The models of conversations."""
        if self._sessions is None or self._sessions[0] != (size, ttl_s):
            self._sessions = ((size, ttl_s), Sessions(size=size, ttl_s=ttl_s))
        return self._sessions[1]

    def state(self) -> dict[str, Any]:
        """What to store, as JSON-ready types."""
        kept = {
            "recent": {name: [round(q, 6) for q in recent.quantiles()] for name, recent in self._recent.items()},
            "owed": {name: round(control.owed, 6) for name, control in self._shares.items()},
        }
        if self._traffic is not None and self._traffic[1].known:
            kept["traffic"] = {"zone": self._traffic[0], **self._traffic[1].to_dict()}
        return {**self._stored, **kept}

    def _part(self, name: str) -> dict[str, Any]:
        """A part of the stored state; empty if it is damaged."""
        part = self._stored.get(name)
        return part if isinstance(part, dict) else {}

    async def _keep_stored(self, store: StatusStore) -> None:
        turn = 0
        while True:
            await asyncio.sleep(_TURN_S)
            turn += 1
            try:
                await self._read_override(store)
            except StoreError as error:
                _LOG.debug("the policy's override was not read: %s", error)
            if turn % _SAVE_EVERY == 0:
                await self._save(store)

    async def _read_override(self, store: StatusStore) -> None:
        async with self._of_override:
            row = await store.status(_OVERRIDE)
            value = row.value if row is not None else None
            self._override = _restored(
                lambda kept: (kept["digest"], SettingConfig.model_validate(kept["setting"])), value
            )

    async def _save(self, store: StatusStore) -> None:
        try:
            await store.set_status(_STATE, self.state())
            self._outage.over()
        except StoreError as error:
            self._outage.failed(error)


def _restored(make: Callable[[Any], T], stored: Any) -> T | None:
    """A restored object; None if nothing was stored, or it is damaged."""
    if stored is None:
        return None
    try:
        return make(stored)
    except (ValueError, TypeError, KeyError) as error:
        _LOG.warning("part of the stored policy state is damaged and starts empty: %s", error)
        return None
