"""Shares, budgets and bounds hold for every decision, whatever its reason."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.calibration import Calibration
from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.core.routers.random import RandomRouter
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.steps.count_decision import CountDecision
from pointsman.serve.engine.steps.hold_bounds import HoldBounds
from pointsman.serve.policy.rules import Policies
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.policy.state import PolicyState
from pointsman.serve.protocols.model_field import ModelField
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.request.context import RequestContext

PAIR = ModelPair("big", "small")
FIELD = ModelField(router="r")
UNEARNED = [
    ("the last user turn has no text", None),
    ("router failed: TimeoutError", None),
    ("session", 0.1),
    ("tool loop", 0.1),
    ("drift", 0.3),
]


class Spent:
    own_part = 1.0

    def __init__(self, usd):
        self.usd = usd

    def spent_usd(self, per, *, key=None):
        return self.usd


def policies(policy, spent_usd=0.0):
    router = ServedRouter("r", RandomRouter(np.random.default_rng(0)), Calibration("test", 100, (0.0, 1.0)), 0.5, {})
    config = make_config({"strong": "openai/a", "weak": "openai/b", "routers": {"random": {}}, "policy": policy})
    prices = (Price(10.0, 30.0), Price(0.1, 0.3))
    return Policies(config.policy, {"r": router}, PolicyState(), prices=prices, spending=Spent(spent_usd))


def decide(rules, reason, win_rate, *, candidates=("big", "small")):
    """What becomes of a request that another step has sent to the strong model."""
    ruled = rules.rule(FIELD)
    context = RequestContext(ChatRequest(b"", {}, "router-r", False, ""), parsed=FIELD, ruled=ruled, pair=PAIR)
    context.decision = Decision("big", win_rate, ruled.ruling.threshold, "r", reason, candidates, ruled.ruling.policy)
    for step in (HoldBounds(rules, PAIR), CountDecision(rules, None)):
        step(context)
    return context.decision


@given(st.lists(st.sampled_from(UNEARNED), min_size=40, max_size=120), st.sampled_from([0.05, 0.1, 0.3]))
@settings(max_examples=40)
def test_a_share_ceiling_holds_whatever_sends_requests_to_strong(reasons, ceiling):
    """No mix of prompts without text, failed routers, conversations, tool loops and alarms gets past the ceiling."""
    rules = policies({"threshold": 0.9, "share_bounds": {"ceiling": ceiling}})
    strong = sum(decide(rules, *reason).model == "big" for reason in reasons)
    assert strong <= ceiling * len(reasons) + 1.0


@pytest.mark.parametrize("reason", UNEARNED, ids=lambda reason: reason[0])
@pytest.mark.parametrize("policy", [{"threshold": 1.0, "threshold_bounds": {"floor": 1.0}}, {"budgets": [{"usd": 1}]}])
def test_an_exhausted_budget_and_a_floor_hold(reason, policy):
    """Where nothing may go to the strong model, nothing does; the decision says which rule it was."""
    random.seed(1)
    rules = policies(policy, spent_usd=5.0)
    decision = decide(rules, *reason)
    assert (decision.model, decision.reason) == ("small", f"bounds, not {reason[0]}")
    assert decision.policy in ("floor", "budget:day")


@pytest.mark.parametrize("reason", UNEARNED, ids=lambda reason: reason[0])
def test_without_bounds_the_reason_stands(reason):
    """A plain threshold bounds nothing: what is not known, kept or alarmed goes where it was sent."""
    assert decide(policies({"threshold": 0.5}), *reason).model == "big"


def test_what_a_win_rate_has_earned_is_left_alone():
    """A win rate at the threshold has passed the rules already."""
    assert decide(policies({"threshold": 0.5, "share_bounds": {"ceiling": 0.1}}), "win_rate", 1.0).model == "big"


def test_where_the_weak_model_cannot_answer_the_strong_one_does():
    """Bounds choose among those that can answer; they refuse nobody."""
    rules = policies({"threshold": 0.9, "share_bounds": {"ceiling": 0.0}})
    assert decide(rules, "needs images", None, candidates=("big",)).model == "big"
