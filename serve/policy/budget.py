"""One ceiling in dollars: what is left, what is reserved, and this process's part."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

from pointsman.core.pacing import Pacer
from pointsman.core.periods import Per
from pointsman.core.policy import Ruling
from pointsman.core.recent import RecentWinRates

__all__ = ["Budget", "Held", "Lease", "LeaseTerms", "Leasing", "Reservation", "Spending"]

_UNDER_WAY_S = 900.0  # a request that has not ended by then is not waited for
_NUMBERS = itertools.count()


class Spending(Protocol):
    """Total spending of all processes, and this process's share of the traffic."""

    @property
    def own_part(self) -> float: ...

    def spent_usd(self, period: Per, *, key: str | None = None) -> float: ...


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """The terms of a lease.

    Attributes:
        label: of the budget.
        per: its period.
        key: id of the key whose spending counts; None for all keys.
        usd: the ceiling.
        open_when_away: whether requests continue when the lease is used up and the store cannot be reached.
    """

    label: str
    per: Per
    key: str | None
    usd: float
    open_when_away: bool = False

    @property
    def name(self) -> str:
        """Identifies the budget in all processes."""
        return self.label if self.key is None else f"{self.label} of {self.key}"


class Lease(Protocol):
    """This process's part of a hard budget; see `money/leases.py`."""

    async def reserve(self, usd: float) -> bool: ...

    def hold(self, usd: float) -> None: ...

    def release(self, usd: float) -> None: ...


class Leasing(Protocol):
    """Provides leases."""

    def lease(self, terms: LeaseTerms) -> Lease: ...


@dataclass(frozen=True, slots=True)
class Held:
    """Dollars of a lease reserved by a request in flight."""

    lease: Lease
    usd: float

    def release(self) -> None:
        """The request has ended."""
        self.lease.release(self.usd)


class _Unlimited:
    """The lease of a soft budget, which limits nothing."""

    async def reserve(self, usd: float) -> bool:
        return True

    def hold(self, usd: float) -> None: ...

    def release(self, usd: float) -> None: ...


@dataclass(frozen=True, slots=True)
class _UnderWay:
    at: float
    usd: float


class Budget:
    """A ceiling, and what has been spent of it.

    Other processes spend from it too: each paces its part, by traffic, of what is left.

    Attributes:
        name: of the rule, e.g. "budget:day".
        key: id of the key whose spending counts; None for all keys.
        hard: whether it is a hard limit: once exhausted, the strong model is not called.
        pacer: finds the threshold.
    """

    def __init__(
        self,
        name: str,
        pacer: Pacer,
        spending: Spending,
        *,
        key: str | None = None,
        hard: bool,
        lease: Lease | None = None,
    ) -> None:
        self.name, self.key, self.hard, self.pacer = name, key, hard, pacer
        self._lease: Lease = lease or _Unlimited()
        self._spending = spending
        self._under_way: OrderedDict[int, _UnderWay] = OrderedDict()
        self._under_way_usd = 0.0

    def spent_usd(self) -> float:
        """Dollars spent in this period."""
        return self._spending.spent_usd(self.pacer.per, key=self.key)

    def is_spent(self) -> bool:
        """Whether nothing is left, counting requests in flight."""
        return self.spent_usd() + self._under_way_usd >= self.pacer.usd

    def ruling(self, now: float, recent: RecentWinRates) -> Ruling:
        """Lowest threshold that the money lasts for."""
        self._forget(now)
        part = self._spending.own_part
        left_usd = (self.pacer.usd - self.spent_usd()) * part - self._under_way_usd
        return Ruling(self.pacer.threshold(now, left_usd, recent, part=part), self.name)

    def begin(self, now: float, *, strong: float) -> "Reservation":
        """Reserves what a request is expected to cost, until it ends."""
        self.pacer.count(now)
        costs = self.pacer.costs
        usd = costs.weak_usd + strong * (costs.strong_usd - costs.weak_usd)
        number = next(_NUMBERS)
        self._under_way[number] = _UnderWay(now, usd)
        self._under_way_usd += usd
        return Reservation(self, number)

    def end(self, number: int, usd: float | None, *, strong: float) -> None:
        """Settles a reservation; `usd` is None if the cost is unknown or no model was called."""
        self._drop(number)
        if usd is not None:
            self.pacer.costs.learn(usd, strong=strong)

    async def reserve(self, usd: float) -> Held | None:
        """Reserves the most that a request can cost; None if too little is left."""
        return Held(self._lease, usd) if await self._lease.reserve(usd) else None

    def hold(self, usd: float) -> Held:
        """Reserves dollars even if they are not left."""
        self._lease.hold(usd)
        return Held(self._lease, usd)

    def spend_other(self, usd: float) -> None:
        """Charges the cost of a request that this budget did not decide on."""
        self.pacer.costs.learn_other(usd)

    def describe(self, now: float) -> dict[str, Any]:
        """Ceiling, spending and plan, as JSON-ready types."""
        period, to_come = self.pacer.period(now), self.pacer.prompts_to_come(now)
        return {
            "name": self.name,
            "key": self.key,
            "per": self.pacer.per,
            "hard": self.hard,
            "usd": self.pacer.usd,
            "spent_usd": _without_noise(self.spent_usd()),
            "planned_usd": _without_noise(self.pacer.planned_usd(now)),
            "under_way_usd": _without_noise(self._under_way_usd),
            "strong_share": self.pacer.share,
            "prompts_to_come": round(to_come.n_prompts, 1),
            "prompts_to_come_range": [round(to_come.low, 1), round(to_come.high, 1)],
            "strong_usd": _without_noise(self.pacer.costs.strong_usd),
            "weak_usd": _without_noise(self.pacer.costs.weak_usd + self.pacer.costs.other_usd),
            "begin": period.begin,
            "end": period.end,
        }

    def _forget(self, now: float) -> None:
        while self._under_way:
            number, oldest = next(iter(self._under_way.items()))
            if abs(now - oldest.at) < _UNDER_WAY_S:
                return
            self._drop(number)

    def _drop(self, number: int) -> None:
        dropped = self._under_way.pop(number, None)
        if dropped is not None:
            self._under_way_usd = self._under_way_usd - dropped.usd if self._under_way else 0.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation of one request in flight from one budget."""

    budget: Budget
    number: int

    def end(self, usd: float | None, *, strong: float) -> None:
        """The request has ended and cost `usd`; None if that is unknown."""
        self.budget.end(self.number, usd, strong=strong)


def _without_noise(usd: float) -> float:
    """Dollars without the rounding noise of a sum: 0.36, not 0.36000000000000004."""
    return float(f"{usd:.12g}")
