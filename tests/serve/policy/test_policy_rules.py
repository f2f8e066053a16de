"""The configured rules at work, without a server: which one decides, and what they remember."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pointsman.core.calibration import Calibration
from pointsman.core.errors import ConfigError
from pointsman.core.prices import Price
from pointsman.core.router import Router
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.config import SettingConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.rules import Policies
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.policy.state import PolicyState
from pointsman.serve.protocols.model_field import ModelField

PRICES = (Price(10.0, 30.0), Price(0.1, 0.3))
FIELD = ModelField(router="r")
MONDAY_NOON = 1_704_110_400.0  # 2024-01-01 12:00 UTC
PAID = AccessKey("k1", "someone", "", 0, tier="paid")


class Nothing(Router):
    kind = "nothing"

    def win_rates(self, prompts: Sequence[str]) -> np.ndarray:
        raise AssertionError("the rules do not ask the router")


@dataclass
class Spent:
    """A ledger that says what it is told."""

    usd: dict[str | None, float] = field(default_factory=dict)
    own_part: float = 1.0

    def spent_usd(self, period: str, *, key: str | None = None) -> float:
        return self.usd.get(key, 0.0)


@dataclass
class Clock:
    now: float = MONDAY_NOON

    def __call__(self) -> float:
        return self.now


def served(thresholds=None, default=0.5, calibrated=True):
    calibration = Calibration("test", 100, (0.0, 1.0)) if calibrated else None
    return ServedRouter("r", Nothing(), calibration, default, thresholds or {})


def rules(policy, *, router=None, memory=None, clock=None, spent=None, prices=PRICES):
    config = make_config({"policy": policy}).policy
    given = {
        "memory": memory or PolicyState(),
        "prices": prices,
        "spending": spent or Spent(),
        "clock": clock or Clock(),
    }
    return Policies(config, {"r": router or served()}, given.pop("memory"), digest="d", **given)


def ruling(policy, field=FIELD, key=None, **more):
    found = rules(policy, **more).rule(field, key).ruling
    return found.policy, found.threshold


NIGHT = {"name": "night", "from": "22:00", "to": "06:00", "threshold": 0.9}
WORK = {"name": "work", "days": ["mon-fri"], "from": "09:00", "to": 17 * 60, "threshold": 0.2}
TIERS = {"paid": {"threshold": 0.1}}


@pytest.mark.parametrize(
    ("policy", "key", "expected"),
    [
        ({}, None, ("default", 0.5)),
        ({"threshold": 0.4}, None, ("fixed", 0.4)),
        ({"strong_share": 0.3}, None, ("share", pytest.approx(0.7, abs=0.01))),
        ({"max_loss": 0.02}, None, ("max_loss", 0.61)),
        ({"threshold": 0.4, "schedule": [NIGHT, WORK]}, None, ("schedule:work", 0.2)),
        ({"threshold": 0.4, "schedule": [NIGHT]}, None, ("fixed", 0.4)),
        ({"threshold": 0.4, "schedule": [WORK], "timezone": "Asia/Tokyo"}, None, ("fixed", 0.4)),
        ({"threshold": 0.4, "schedule": [NIGHT | {"timezone": "Asia/Tokyo"}]}, None, ("fixed", 0.4)),
        ({"threshold": 0.4, "schedule": [NIGHT | {"timezone": "Pacific/Auckland"}]}, None, ("schedule:night", 0.9)),
        ({"threshold": 0.4, "schedule": [WORK], "tiers": TIERS}, PAID, ("tier:paid", 0.1)),
        ({"threshold": 0.4, "schedule": [WORK], "tiers": TIERS}, None, ("schedule:work", 0.2)),
        ({"threshold": 0.4, "threshold_bounds": {"floor": 0.45}}, None, ("floor", 0.45)),
        ({"threshold": 0.4, "threshold_bounds": {"ceiling": 0.35}}, None, ("ceiling", 0.35)),
        ({"threshold": 0.1, "share_bounds": {"ceiling": 0.3}}, None, ("share ceiling", pytest.approx(0.7, abs=0.01))),
        ({"threshold": 0.9, "share_bounds": {"floor": 0.3}}, None, ("share floor", pytest.approx(0.7, abs=0.01))),
        ({"budgets": [{"usd": 1e6}]}, None, ("budget:day", 0.0)),
        ({"threshold": 0.4, "budgets": [{"usd": 1e6}]}, None, ("fixed", 0.4)),
    ],
)
def test_the_rule_that_decides_is_named(policy, key, expected):
    """Tier before schedule before setting before the router's default; then budgets and bounds."""
    stored = {"max_loss=0.02": {"rule": "max_loss", "wanted": 0.02, "confidence": 0.95, "threshold": 0.61}}
    assert ruling(policy, key=key, router=served(stored)) == expected


@pytest.mark.parametrize(("bind", "expected"), [(False, ("request", 0.05)), (True, ("floor", 0.3))])
def test_a_threshold_in_the_request_is_bound_only_where_that_is_asked_for(bind, expected):
    """By default a request that names a threshold gets it; with `bind_requests` budgets and bounds hold it too."""
    policy = {"threshold_bounds": {"floor": 0.3}, "bind_requests": bind}
    assert ruling(policy, ModelField(router="r", threshold=0.05)) == expected


def test_a_hard_budget_is_a_wall_for_every_request_and_a_soft_one_is_none():
    """Once it is spent, even a threshold of 0 in the request leaves weak alone; until then nothing is different."""
    spent, field = Spent({None: 4.0}), ModelField(router="r", threshold=0.0)
    hard = rules({"budgets": [{"usd": 5, "hard": True}]}, spent=spent)
    soft = rules({"threshold": 0.5, "threshold_bounds": {"ceiling": 0.8}, "budgets": [{"usd": 5}]}, spent=spent)
    assert hard.rule(field).ruling.policy == "request"
    assert hard.exhausted_limit(None) is None
    spent.usd[None] = 5.0
    assert hard.rule(field).exhausted
    assert hard.rule(field).ruling.policy == "budget:day exhausted"
    assert hard.exhausted_limit(None) == "budget:day"
    assert not soft.rule(FIELD).exhausted
    assert soft.rule(FIELD).ruling.threshold == 0.8


def test_requests_under_way_count_before_they_are_paid_for():
    """A burst that has not been billed yet does not get past the wall."""
    policies = rules({"budgets": [{"usd": 0.1, "hard": True}]})
    ruled = [policies.rule(FIELD) for _ in range(20)]
    held = [policies.begin(each.budgets, strong=True) for each in ruled]
    assert policies.rule(FIELD).exhausted
    for (reservation,) in held:
        reservation.end(None, strong=True)
    assert not policies.rule(FIELD).exhausted


def test_each_key_has_a_budget_of_its_own():
    """One key's spending does not bind another's, nor requests without a key."""
    other = AccessKey("k2", "other", "", 0)
    policies = rules({"budgets": [{"usd": 1, "key": "each", "hard": True}]}, spent=Spent({"k1": 1.0, None: 1.0}))
    assert [policies.rule(FIELD, key).exhausted for key in (PAID, other, None)] == [True, False, False]


def test_an_override_holds_until_the_configuration_changes():
    """What an administrator sets replaces the setting, not the schedule, and means nothing to another configuration."""
    memory = PolicyState()
    policies = rules(
        {"threshold": 0.4, "schedule": [WORK]}, memory=memory, clock=(clock := Clock(MONDAY_NOON + 36_000))
    )
    asyncio.run(memory.set_override("d", SettingConfig(threshold=0.7)))
    assert policies.rule(FIELD).ruling.policy == "admin"
    assert policies.rule(FIELD).ruling.threshold == 0.7
    assert policies.describe()["setting"] == {"threshold": 0.7}
    clock.now = MONDAY_NOON
    assert policies.rule(FIELD).ruling.policy == "schedule:work"
    policies.digest = "another"
    clock.now += 36_000
    assert policies.rule(FIELD).ruling.policy == "fixed"


class Shelf:
    """A store's facts."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    async def status(self, name: str) -> Any:
        return SimpleNamespace(value=self.facts[name]) if name in self.facts else None

    async def set_status(self, name: str, value: Any) -> bool:
        self.facts[name] = value
        return True


def test_state_is_restored_from_the_store():
    """After a restart the share goes on with what is owed and with the win rates it had seen."""

    async def serve(steps):
        memory = PolicyState(lambda: shelf)
        await memory.start()
        policies = rules({"strong_share": 0.3}, memory=memory)
        for _ in range(steps):
            policies.learn("r", 0.9, policies.rule(FIELD), strong=False)
        found = policies.rule(FIELD).ruling.threshold, policies.describe()["routers"][0]["owed"]
        await memory.close()
        return found

    shelf = Shelf()
    before, fresh = asyncio.run(serve(300)), asyncio.run(_fresh())
    assert asyncio.run(serve(0)) == pytest.approx(before, abs=1e-3)
    assert fresh != pytest.approx(before, abs=1e-3)


async def _fresh():
    return rules({"strong_share": 0.3}).rule(FIELD).ruling.threshold, 0.0


@pytest.mark.parametrize("damaged", ["no state", {"recent": 5}, {"recent": {"r": 5}, "owed": [], "traffic": 7}, None])
def test_a_damaged_state_begins_anew(damaged):
    """Whatever stands in the store, serving begins."""

    async def serve():
        shelf.facts = {"policy state": damaged, "policy override": {"setting": {"threshold": 7}}}
        memory = PolicyState(lambda: shelf)
        await memory.start()
        found = rules({"strong_share": 0.3, "budgets": [{"usd": 9}]}, memory=memory).rule(FIELD).ruling.threshold
        await memory.close()
        return found

    shelf = Shelf()
    assert asyncio.run(serve()) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"threshold": 0.5, "strong_share": 0.5}, "threshold and strong_share are given together"),
        ({"threshold": 1.5}, "policy.threshold"),
        ({"budgets": [{"usd": 0}]}, "policy.budgets.0.usd"),
        ({"budgets": [{"usd": -5}]}, "policy.budgets.0.usd"),
        ({"budgets": [{"usd": 5}, {"usd": 6}]}, "the name 'day' is given twice"),
        ({"budgets": [{"usd": 5, "per": "week"}]}, "policy.budgets.0.per"),
        ({"timezone": "Mars/Phobos"}, "is not a known time zone"),
        ({"schedule": [{"name": "x", "from": "09:00", "to": "09:00", "threshold": 0.5}]}, "begins when it ends"),
        ({"schedule": [{"name": "x", "days": ["someday"], "threshold": 0.5}]}, "policy.schedule.0.days"),
        ({"schedule": [{"name": "x"}]}, "sets no threshold"),
        ({"tiers": {"paid": {}}}, "sets no threshold"),
        ({"threshold_bounds": {"floor": 0.6, "ceiling": 0.5}}, "floor 0.6 is above ceiling 0.5"),
        ({"share_bounds": {"floor": 0.6, "ceiling": 0.5}}, "floor 0.6 is above ceiling 0.5"),
        ({"requests_per_hour": [1.0] * 23}, "policy.requests_per_hour"),
        ({"requests_per_hour": [-1.0] * 24}, "policy.requests_per_hour"),
    ],
)
def test_rules_that_mean_nothing_are_refused(policy, message):
    """Each with its path and what was wanted."""
    with pytest.raises(ConfigError, match=message):
        make_config({"policy": policy})


def test_rules_that_lack_what_they_need_are_refused():
    """Budgets without prices, and a stored threshold that the checkpoint does not have."""
    with pytest.raises(ConfigError, match=r"models\.<name>\.price"):
        rules({"budgets": [{"usd": 5}]}, prices=(PRICES[0], None))
    with pytest.raises(ConfigError, match="pointsman calibrate TABLE --max-loss"):
        rules({"tiers": {"paid": {"max_loss": 0.5}}})


def test_a_share_needs_no_calibration_and_a_default_does():
    """A router without calibration learns its win rates from the traffic; without any rule it must be told."""
    bare = served(default=None, calibrated=False)
    assert ruling({"strong_share": 0.3}, router=bare)[0] == "share"
    with pytest.raises(RequestError, match="is not calibrated"):
        ruling({}, router=bare)
    assert rules({}, router=bare).describe()["routers"][0]["threshold"] is None


def test_other_processes_follow_what_an_administrator_sets():
    """A process on the same store takes over the setting, and gives it up when it is reset."""

    async def follow():
        one, other = PolicyState(lambda: shelf), PolicyState(lambda: shelf)
        await one.set_override("d", SettingConfig(strong_share=0.6))
        await other.start()
        found = [other.override("d"), other.override("another")]
        await other.close()
        await one.set_override("d", None)
        await other.start()
        found.append(other.override("d"))
        await other.close()
        return found

    shelf = Shelf()
    assert asyncio.run(follow()) == [SettingConfig(strong_share=0.6), None, None]


class SlowShelf(Shelf):
    """A shelf that looks up an override at once, and says so when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def status(self, name: str) -> Any:
        found = await super().status(name)
        if name == "policy override":
            self.asked.set()
            await self.let.wait()
        return found


@pytest.mark.parametrize(("before", "after"), [(0.6, None), (None, 0.6), (0.6, 0.2)])
async def test_what_was_read_before_a_change_does_not_take_it_back(before, after):
    """An administrator sets or resets while this process is reading what was in force: the newer one holds."""
    shelf = SlowShelf()
    state = PolicyState(lambda: shelf)
    before, after = (None if share is None else SettingConfig(strong_share=share) for share in (before, after))
    await state.set_override("d", before)
    reading = asyncio.create_task(state.load())
    await shelf.asked.wait()
    setting = asyncio.create_task(state.set_override("d", after))
    await asyncio.sleep(0)
    shelf.let.set()
    await asyncio.gather(reading, setting)
    assert state.override("d") == after
    await state.load()
    assert state.override("d") == after


class SharesOfKeys(RuleBasedStateMachine):
    """Keys that send what they like, with and without text, through the pipeline's own steps: what each gets."""

    TARGET = 0.3

    def __init__(self):
        super().__init__()
        self.policies = rules({"strong_share": self.TARGET})
        self.calls = {key: [0.0, 0] for key in ("a", "b", "c")}

    @rule(key=st.sampled_from("abc"), win_rate=st.none() | st.floats(0.0, 1.0), times=st.sampled_from([1, 300]))
    def ask(self, key, win_rate, times):
        for _ in range(times):
            ruled = self.policies.rule(FIELD, AccessKey(key, key, "", 0))
            if win_rate is None:  # no prompt to score: what the last step of the pipeline asks
                strong = float(self.policies.refusal(ruled, "r") is None)
            else:
                strong = float(win_rate >= ruled.ruling.threshold)
            self.policies.learn("r", win_rate, ruled, strong=strong)
            self.calls[key][0] += strong
            self.calls[key][1] += 1

    @invariant()
    def no_key_has_more_or_less_than_its_share(self):
        for strong, n in self.calls.values():
            assert abs(strong - self.TARGET * n) <= 27.0


TestSharesOfKeys = SharesOfKeys.TestCase
TestSharesOfKeys.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_a_key_of_hard_prompts_leaves_the_others_their_share():
    """Prompts that all reach the threshold, and prompts without text, use up the share of their own key alone."""
    machine = SharesOfKeys()
    for i in range(1000):
        machine.ask.__wrapped__(machine, "a", None if i % 2 else 1.0, 1)
        machine.ask.__wrapped__(machine, "b", (i % 100) / 200, 1)
    assert [round(strong / n, 1) for strong, n in machine.calls.values() if n] == [0.3, 0.3]
