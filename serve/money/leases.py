"""Hard budgets that hold across requests and processes: dollars are leased before they are spent.

Each process holds a lease of each hard budget. A request to a limited model starts only after its maximum cost is
reserved from the lease. If that is too small, the process draws more from the budget's account with one atomic
statement, which never grants more than is left. Once a second it draws ahead, returns what it does not need, and books
other spending. So the processes together never reserve more than the budget:

    drawn by all = spent + reserved + idle in leases <= budget

The lease of a killed process counts as spent until the budget resets, and so does a draw whose reply is lost; dollars
are returned at most once. All errors are on the safe side. The budget can be exceeded in two ways: models that it
does not limit continue to answer (the weak model, shadow comparisons), and a request may exceed its reservation.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from prometheus_client.metrics import Counter, Gauge
from prometheus_client.registry import CollectorRegistry

from pointsman.core.errors import StoreError
from pointsman.core.periods import Period
from pointsman.serve.money.ledger import Ledger
from pointsman.serve.policy.budget import LeaseTerms

__all__ = ["AccountStore", "Lease", "Leases"]

_LOG = logging.getLogger(__name__)
_SYNC_S = 1.0
_AHEAD_S = 2.0  # of spending, drawn ahead
_MEMORY = 0.5  # weight of the last second in the mean spending
_LARGEST_PART = 8.0  # of what is left is drawn ahead at most one part
_ASK_AGAIN_S = 0.2  # an account that had too little is asked again after so long: others give back
_NOTHING_USD = 1e-9
_FEW = 8.0  # requests of the largest size: a smaller budget would hold back everything


class AccountStore(Protocol):
    """The part of the store that leases use."""

    async def open_account(self, name: str, begin: float, drawn_usd: float) -> bool: ...

    async def draw(self, name: str, begin: float, usd: float, *, ceiling_usd: float | None) -> tuple[float, float]: ...


class Lease:
    """One process's part of one budget.

    Attributes:
        terms: of the budget.
        name: of its account.
        n_draws: number of times that a request waited for the account.
    """

    def __init__(
        self, terms: LeaseTerms, ledger: Ledger, store: AccountStore | None, clock: Callable[[], float]
    ) -> None:
        self.terms = terms
        self.name = f"{terms.name} {terms.per}"
        self.n_draws = 0
        self._ledger, self._store, self._clock = ledger, store, clock
        self._period: Period | None = None
        self._is_open = False
        self._drawn_usd = self._base_usd = self._set_aside_usd = 0.0
        self._left_usd = terms.usd  # in the account, when it was last asked
        self._asked_at = -_ASK_AGAIN_S
        self._away = False
        self._pace_usd, self._seen_usd = 0.0, 0.0
        self._asking = asyncio.Lock()

    @property
    def open_usd(self) -> float:
        """Dollars drawn but not spent, which this process may still spend."""
        return max(self._drawn_usd - self._spent_usd(), 0.0)

    async def reserve(self, usd: float) -> bool:
        """Reserves the most that a request can cost; False if the budget has too little left.

        If the budget itself is worth less than a few requests, one at a time may take all that is left.
        """
        if self._available_usd() < usd or not self._is_open:
            await self._ask_for(usd)
        available = self._available_usd()
        alone = usd > self.terms.usd / _FEW and self._set_aside_usd <= _NOTHING_USD < available
        if available >= usd or alone or (self._away and self.terms.open_when_away):
            self._set_aside_usd += usd
            return True
        return False

    def hold(self, usd: float) -> None:
        """Reserves dollars for a request that the budget does not limit."""
        self._set_aside_usd += usd

    def release(self, usd: float) -> None:
        """The request has ended; its cost is already in the ledger."""
        self._set_aside_usd = max(self._set_aside_usd - usd, 0.0)

    async def sync(self) -> None:
        """Once a second: draws ahead, returns dollars, and books spending beside the lease."""
        spent = self._spent_usd()
        self._pace_usd += _MEMORY * (max(spent - self._seen_usd, 0.0) - self._pace_usd)
        self._seen_usd = spent
        if not self._is_open and spent <= _NOTHING_USD and self._set_aside_usd <= _NOTHING_USD:
            return
        ahead = _AHEAD_S * self._pace_usd
        spare = self._available_usd()
        async with self._asking:
            if spare < 0.0 or not self._is_open:
                await self._draw(-spare, ceiling_usd=None)
            elif spare > 2.0 * ahead + _NOTHING_USD:
                await self._give_back(spare - ahead)
            elif spare < ahead / 2.0:
                await self._draw(min(ahead - spare, self._left_usd / _LARGEST_PART), ceiling_usd=self.terms.usd)

    async def close(self) -> None:
        """Returns what is not spent."""
        async with self._asking:
            await self._give_back(self._available_usd())

    async def _ask_for(self, usd: float) -> None:
        async with self._asking:  # one at a time; those behind find what the first has drawn
            short = usd - self._available_usd()
            if self._is_open and (short <= 0.0 or (self._clock_s() - self._asked_at < _ASK_AGAIN_S and self._is_dry())):
                return
            self.n_draws += 1
            ahead = min(_AHEAD_S * self._pace_usd, self._left_usd / _LARGEST_PART)
            await self._draw(max(short, 0.0) + ahead, ceiling_usd=self.terms.usd)

    def _is_dry(self) -> bool:
        return self._away or self._left_usd <= _NOTHING_USD

    async def _draw(self, usd: float, *, ceiling_usd: float | None) -> None:
        """Draws up to `usd`; `usd` in full, even beyond the budget, if it is spent already."""
        begin = self._roll().begin
        usd = max(usd, 0.0)
        self._asked_at = self._clock_s()
        try:
            if not self._is_open:
                await self._open(begin)
            if self._store is None:
                granted = usd if ceiling_usd is None else min(usd, max(ceiling_usd - self._drawn_usd, 0.0))
                drawn = self._drawn_usd + granted
            else:
                granted, drawn = await self._store.draw(self.name, begin, usd, ceiling_usd=ceiling_usd)
        except StoreError as error:
            if not self._away:
                state = "open" if self.terms.open_when_away else "closed"
                _LOG.warning("budget %s cannot be leased and is %s meanwhile: %s", self.terms.name, state, error)
            self._away = True
            return
        self._away = False
        if self._period is not None and self._period.begin == begin:
            self._drawn_usd += granted
            self._left_usd = max(self.terms.usd - drawn, 0.0)

    async def _open(self, begin: float) -> None:
        """Creates the account of this period, unless another process has: earlier spending is drawn from it."""
        spent = self._ledger.spent_usd(self.terms.per, key=self.terms.key)
        if self._store is None:
            self._drawn_usd, self._base_usd = spent, spent - self._spent_usd()
        elif await self._store.open_account(self.name, begin, spent):
            self._drawn_usd = self._spent_usd()
        self._is_open = True

    async def _give_back(self, usd: float) -> None:
        """Returns dollars, trying only once: after a failure it is unknown whether the account was changed."""
        if usd <= _NOTHING_USD or not self._is_open:
            return
        self._drawn_usd -= usd
        if self._store is None:
            self._left_usd = max(self.terms.usd - self._drawn_usd, 0.0)
            return
        try:
            _, drawn = await self._store.draw(self.name, self._roll().begin, -usd, ceiling_usd=None)
            self._left_usd = max(self.terms.usd - drawn, 0.0)
        except StoreError as error:
            _LOG.warning("$%.4f of budget %s could not be returned: %s", usd, self.terms.name, error)

    def _available_usd(self) -> float:
        return self._drawn_usd - self._base_usd - self._spent_usd() - self._set_aside_usd

    def _spent_usd(self) -> float:
        """Dollars spent by this process in the account's period."""
        self._roll()
        return self._ledger.own_spent_usd(self.terms.per, key=self.terms.key)

    def _roll(self) -> Period:
        """The current period; a new one has its own account, to which requests in flight move."""
        now = self._clock()
        if self._period is None or not self._period.begin <= now < self._period.end:
            self._period = self._ledger.period(self.terms.per)
            self._is_open, self._drawn_usd, self._base_usd, self._seen_usd = False, 0.0, 0.0, 0.0
            self._left_usd = self.terms.usd
        return self._period

    def _clock_s(self) -> float:
        return time.monotonic()


class Leases:
    """The leases of a process; a component that keeps them in sync with the store."""

    def __init__(
        self,
        ledger: Ledger,
        store: AccountStore | None,
        *,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Starts without leases.

        Args:
            store: keeps the accounts; None keeps them in this process.
            clock: seconds since 1970; the ledger's.
        """
        self._ledger, self._store, self._clock = ledger, store, clock
        self._leases: dict[str, Lease] = {}
        self._task: asyncio.Task[None] | None = None
        self._open = Gauge(
            "pointsman_lease_open_usd",
            "Dollars of a hard budget that this process has leased and not yet spent; other processes cannot use them.",
            ["budget"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waited = Counter(
            "pointsman_lease_waits", "Requests that waited for a lease of a hard budget.", ["budget"], registry=registry
        )

    def lease(self, terms: LeaseTerms) -> Lease:
        """The lease of a budget, created on first use and kept if only the ceiling has changed."""
        name = f"{terms.name} {terms.per}"
        if name not in self._leases:
            self._leases[name] = Lease(terms, self._ledger, self._store, self._clock)
        self._leases[name].terms = terms
        return self._leases[name]

    async def start(self) -> None:
        """Starts syncing."""
        self._task = asyncio.get_running_loop().create_task(self._keep_up())

    async def close(self) -> None:
        """Returns everything."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            for lease in self._leases.values():
                await lease.close()

    async def sync(self) -> None:
        """See `Lease.sync`."""
        open_usd: dict[str, float] = {}
        for lease in list(self._leases.values()):
            await lease.sync()
            label = lease.terms.label
            open_usd[label] = open_usd.get(label, 0.0) + lease.open_usd
            self._waited.labels(label).inc(lease.n_draws)
            lease.n_draws = 0
        for label, usd in open_usd.items():
            self._open.labels(label).set(usd)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            await self.sync()
