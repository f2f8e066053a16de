"""The configured rules at work: which threshold a request gets, and which rule set it."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

from pointsman.core.calibration import Calibration
from pointsman.core.errors import ConfigError
from pointsman.core.pacing import Pacer, PacerCosts
from pointsman.core.policy import Bounds, Ruling, compose, hard_limit
from pointsman.core.prices import Price
from pointsman.core.recent import NEVER_STRONG, RecentWinRates
from pointsman.core.schedule import local_time
from pointsman.core.sessions import Sessions
from pointsman.core.share_control import ShareControl
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.config import BudgetConfig, PolicyConfig, SessionsConfig, SettingConfig
from pointsman.serve.policy.budget import Budget, LeaseTerms, Leasing, Reservation, Spending
from pointsman.serve.policy.live_share import LiveShare
from pointsman.serve.policy.requirements import policy_problems, setting_problems
from pointsman.serve.policy.ruled import Ruled
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.policy.state import PolicyState
from pointsman.serve.protocols.model_field import ModelField

__all__ = ["Policies"]

_TYPICAL_TOKENS = 300  # of a prompt, and of an answer, until answers have been seen
_LIVE_TRAFFIC = Calibration("even until traffic is seen", 1, (0.0, 1.0))


class Policies:
    """The rules of one configuration, over the policy state of the process.

    Attributes:
        hard: whether any budget is a hard one.
    """

    def __init__(
        self,
        config: PolicyConfig,
        routers: Mapping[str, ServedRouter],
        state: PolicyState,
        *,
        digest: str = "",
        prices: tuple[Price | None, Price | None] = (None, None),
        typical_usd: tuple[float, float] | None = None,
        unpriced: Sequence[str] = (),
        unbound: float = 0.0,
        spending: Spending | None = None,
        leasing: Leasing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Checks that the routers have what the rules need, and that prices are known.

        Args:
            digest: of the whole configuration; an administrator's changes apply only to this one.
            prices: of the strong and the weak model; of more candidates of the reference and the cheapest.
            typical_usd: what an answer of either is expected to cost until answers have been seen; by 300 tokens of
                prompt and answer if None.
            unpriced: candidates whose price is not known.
            unbound: threshold while a budget has more than enough, for routers without one of their own.
            spending: what was spent, for the budgets.
            leasing: leases of hard budgets; without them a hard budget holds as far as spending is known.
            clock: seconds since 1970.

        Raises:
            ConfigError: a rule needs a stored threshold, a price or a ledger that does not exist.
        """
        self.config, self.state, self.digest = config, state, digest
        self._routers = routers
        self._typical_usd = typical_usd or (_typical_usd(prices[0]), _typical_usd(prices[1]))
        self._spending, self._unbound = spending, unbound
        self._leasing = leasing
        self._clock = clock
        self._zone = ZoneInfo(config.timezone)
        self.hard = any(budget.hard for budget in config.budgets)
        self._schedule = [(each, each.span(), ZoneInfo(each.timezone or config.timezone)) for each in config.schedule]
        bounds = config.threshold_bounds
        self._bounds = Bounds(bounds.floor, NEVER_STRONG if bounds.ceiling is None else bounds.ceiling)
        self._setting_of_all = config if config.is_set else None
        self._names = {name: f"{name} {_fingerprint(router)}" for name, router in routers.items()}
        for problem in policy_problems(config, routers, prices, unpriced, has_ledger=spending is not None):
            raise ConfigError(problem)

    def rule(self, field: ModelField, key: AccessKey | None = None, *, base: Ruling | None = None) -> Ruled:
        """The result of the rules for a request that asks for a router.

        Args:
            base: replaces the rule that comes first, before budgets and bounds.

        Raises:
            RequestError: it asks for a threshold that needs a calibration, and the router has none.
        """
        router = self._routers[field.router or ""]
        now = self._clock()
        budgets = tuple(self._budgets(key)) if self.config.budgets else ()
        if exhausted := next((budget for budget in budgets if budget.hard and budget.is_spent()), None):
            return Ruled(hard_limit(exhausted.name), budgets=budgets, exhausted=True)
        if field.names_threshold:
            ruling = Ruling(router.threshold(field), "request")
            if not self.config.bind_requests:
                return Ruled(ruling)
            return self._bound(router, ruling, (), budgets, key=key, now=now)
        shares: tuple[ShareControl | LiveShare, ...] = (self._live(router.name),)
        if base is None:
            base, shares = self._base(router, field, key, now)
        return self._bound(router, base, shares, budgets, key=key, now=now)

    def refusal(self, ruled: Ruled, router: str) -> str | None:
        """Name of the rule that leaves no room for the strong model without a win rate in its favour, or None.

        A share has room while strong calls are not ahead of it. Budgets and threshold bounds are checked with a win
        rate drawn from the recent ones, so that such requests get the strong model as often as others do.
        """
        full = next((s for s in ruled.shares if isinstance(s, ShareControl) and not s.has_room), None)
        if full is not None:
            return f"share {full.target:g}"
        recent = self._recent(self._routers[router])
        limits = [budget.ruling(self._clock(), recent) for budget in ruled.budgets]
        if self._bounds.floor > 0.0 and ruled.is_bound:
            limits.append(Ruling(self._bounds.floor, "floor"))
        drawn = recent.draw(random.random())
        return next((limit.policy for limit in limits if drawn < limit.threshold), None)

    def exhausted_limit(self, key: AccessKey | None) -> str | None:
        """Name of the exhausted hard limit, or None."""
        return next((budget.name for budget in self._budgets(key) if budget.hard and budget.is_spent()), None)

    def hard_limits(self, key: AccessKey | None) -> tuple[Budget, ...]:
        """The hard budgets that a request counts towards."""
        return tuple([budget for budget in self._budgets(key) if budget.hard])

    def learn(self, router: str, point: float | None, ruled: Ruled, *, strong: float) -> None:
        """Counts where a request went.

        Args:
            point: threshold up to which it would have gone to the strong model: its win rate, or of more candidates a
                turning point.
            strong: 1 for the strong model, 0 for the weak one; of more candidates the place of its bill.
        """
        if point is not None:
            self._recent(self._routers[router]).add(point)
        for share in ruled.shares:
            share.count(strong=strong)

    def begin(self, budgets: tuple[Budget, ...], *, strong: float) -> tuple[Reservation, ...]:
        """Reserves the expected cost of a request from its budgets."""
        now = self._clock()
        if budgets:
            self.state.traffic(self.config.timezone, self.config.requests_per_hour).count(now)
        return tuple([budget.begin(now, strong=strong) for budget in budgets])

    def sessions(self, config: SessionsConfig | None) -> Sessions | None:
        """The models of conversations; None if each request is decided independently."""
        return None if config is None else self.state.sessions(config.max_sessions, config.ttl_s)

    def check_setting(self, setting: SettingConfig) -> None:
        """Raises `ConfigError` if a router does not have what a setting needs."""
        for problem in setting_problems("setting", setting, self._routers):
            raise ConfigError(problem)

    def describe(self) -> dict[str, Any]:
        """The rules and their current state, as JSON-ready types."""
        now = self._clock()
        override = self.state.override(self.digest)
        return {
            "setting": _shown(override or self.config),
            "configured": _shown(self.config),
            "overridden": override is not None,
            "routers": [self._describe_router(name) for name in self._routers],
            "budgets": [budget.describe(now) for budget in self._budgets(None)],
            "threshold_bounds": self.config.threshold_bounds.model_dump(),
            "share_bounds": self.config.share_bounds.model_dump(),
        }

    def _describe_router(self, name: str) -> dict[str, Any]:
        router = self._routers[name]
        if router.default_threshold is None and not self._sets_threshold():
            return {"router": name, "policy": None, "threshold": None, "target": None, "owed": None, "live": {}}
        ruled = self.rule(ModelField(router=name))
        held = next((share for share in ruled.shares if isinstance(share, ShareControl)), None)
        live = self._live(name)
        return {
            "router": name,
            "policy": ruled.ruling.policy,
            "threshold": min(ruled.ruling.threshold, 1.0),
            "target": held.target if held is not None else None,
            "owed": held.owed if held is not None else None,
            "live": {"n_requests": live.n_requests, "strong_share": live.shares()},
        }

    def _sets_threshold(self) -> bool:
        return self.config.is_set or bool(self.config.budgets) or self.state.override(self.digest) is not None

    def _base(
        self, router: ServedRouter, field: ModelField, key: AccessKey | None, now: float
    ) -> tuple[Ruling, tuple[ShareControl | LiveShare, ...]]:
        """The rule that comes first, before budgets and bounds."""
        live = self._live(router.name)
        name, setting = self._setting(key, now)
        if setting is None:
            if self.config.budgets and not router.has_own_default:
                return Ruling(self._unbound, f"budget:{self.config.budgets[0].label}"), (live,)
            return Ruling(router.threshold(field), "default"), (live,)
        if setting.strong_share is not None:
            share = self.state.share(f"{self._names[router.name]} {name}{_of(key)}", setting.strong_share)
            return Ruling(share.threshold(self._recent(router)), name or "share"), (share, live)
        if setting.threshold is not None:
            return Ruling(setting.threshold, name or "fixed"), (live,)
        rule = "max_loss" if setting.max_loss is not None else "max_cost_usd"
        found = router.stored_threshold(rule, getattr(setting, rule))
        return Ruling(0.0 if found is None else found, name or rule), (live,)

    def _setting(self, key: AccessKey | None, now: float) -> tuple[str, SettingConfig | None]:
        """The name of the rule that comes first and its setting; "" for the one without conditions."""
        if key is not None and key.tier is not None and key.tier in self.config.tiers:
            return f"tier:{key.tier}", self.config.tiers[key.tier]
        for entry, span, zone in self._schedule:
            if span.contains(local_time(now, zone)):
                return f"schedule:{entry.name}", entry
        override = self.state.override(self.digest)
        if override is not None:
            return "admin", override
        return "", self._setting_of_all

    def _bound(
        self,
        router: ServedRouter,
        base: Ruling,
        shares: tuple[ShareControl | LiveShare, ...],
        budgets: tuple[Budget, ...],
        *,
        key: AccessKey | None,
        now: float,
    ) -> Ruled:
        """A base rule with budgets and bounds around it."""
        limits, most, least = self.config.share_bounds, None, None
        if limits.ceiling is not None:
            share = self._share_bound(router, "ceiling", limits.ceiling, key)
            most, shares = Ruling(share.threshold(self._recent(router)), "share ceiling"), (*shares, share)
        if limits.floor is not None:
            share = self._share_bound(router, "floor", limits.floor, key)
            least, shares = Ruling(share.threshold(self._recent(router)), "share floor"), (*shares, share)
        paced = [budget.ruling(now, self._recent(router)) for budget in budgets]
        ruling = compose(base, budgets=paced, most=most, least=least, bounds=self._bounds)
        return Ruled(ruling, shares, budgets, is_bound=True)

    def _share_bound(self, router: ServedRouter, side: str, target: float, key: AccessKey | None) -> ShareControl:
        name = f"{self._names[router.name]} share {side}{_of(key)}"
        return self.state.share(name, target, at_least=side == "floor", at_most=side == "ceiling")

    def _budgets(self, key: AccessKey | None) -> Iterator[Budget]:
        for config in self.config.budgets:
            if config.key is None:
                yield self._budget(config, None)
            elif key is not None and config.key in ("each", key.id):
                yield self._budget(config, key.id)

    def _budget(self, config: BudgetConfig, key: str | None) -> Budget:
        return self.state.budget(
            config.label, key, (config, self.config.timezone), lambda: self._new_budget(config, key)
        )

    def _new_budget(self, config: BudgetConfig, key: str | None) -> Budget:
        assert self._spending is not None
        costs = PacerCosts(*self._typical_usd)
        traffic = self.state.traffic(self.config.timezone, self.config.requests_per_hour)
        pacer = Pacer(config.usd, config.per, costs=costs, traffic=traffic, forecast=key is None, zone=self._zone)
        lease = None
        if config.hard and self._leasing is not None:
            terms = LeaseTerms(config.label, config.per, key, config.usd, config.without_store == "open")
            lease = self._leasing.lease(terms)
        return Budget(f"budget:{config.label}", pacer, self._spending, key=key, hard=config.hard, lease=lease)

    def _recent(self, router: ServedRouter) -> RecentWinRates:
        calibration = router.calibration or _LIVE_TRAFFIC
        return self.state.recent(self._names[router.name], lambda: calibration.quantiles)

    def _live(self, router: str) -> LiveShare:
        live = self.state.live.get(router)
        if live is None:
            live = self.state.live[router] = LiveShare()
        return live


def _typical_usd(price: Price | None) -> float:
    return price.cost_usd(_TYPICAL_TOKENS, _TYPICAL_TOKENS) if price is not None else 0.0


def _of(key: AccessKey | None) -> str:
    """Suffix of the name of per-key state."""
    return "" if key is None else f" of {key.id}"


def _fingerprint(router: ServedRouter) -> str:
    """Identifies a version of a router: each has its own scale of win rates."""
    quantiles = router.calibration.quantiles if router.calibration is not None else ()
    return f"{crc32(repr((router.router.kind, quantiles)).encode()):08x}"


def _shown(setting: SettingConfig) -> dict[str, float]:
    values = {name: getattr(setting, name) for name in SettingConfig.model_fields}
    return {name: value for name, value in values.items() if value is not None}
