"""The routing pipeline: every step between a parsed request and its decision, in order, on this page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.serve.config import Config
from pointsman.serve.engine.expected_bills import ExpectedBills
from pointsman.serve.engine.steps.apply_certificate import ApplyCertificate
from pointsman.serve.engine.steps.apply_rules import ApplyRules
from pointsman.serve.engine.steps.background_to_weak import BackgroundToWeak
from pointsman.serve.engine.steps.check_capabilities import CheckCapabilities
from pointsman.serve.engine.steps.check_circuits import CheckCircuits
from pointsman.serve.engine.steps.check_context import CheckContext
from pointsman.serve.engine.steps.check_surface import CheckSurface
from pointsman.serve.engine.steps.check_translation import CheckTranslation
from pointsman.serve.engine.steps.choose_model import ChooseAmong, ChooseModel
from pointsman.serve.engine.steps.count_decision import CountDecision
from pointsman.serve.engine.steps.first_model import FirstModel
from pointsman.serve.engine.steps.hold_bounds import HoldBounds
from pointsman.serve.engine.steps.keep_conversation import KeepConversation, PairPrices
from pointsman.serve.engine.steps.reserve_budget import ReserveBudget
from pointsman.serve.engine.steps.resolve_model import ResolveModel
from pointsman.serve.engine.steps.return_to_maker import ReturnToMaker
from pointsman.serve.engine.steps.score_prompt import RouterThreads, ScorePrompt
from pointsman.serve.engine.steps.set_threshold import SetThreshold
from pointsman.serve.engine.steps.step import Step
from pointsman.serve.engine.steps.strong_on_drift import StrongOnDrift
from pointsman.serve.policy.rules import Policies
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.request.in_step import InStep
from pointsman.serve.request.makers import Makers
from pointsman.serve.request.worker_sessions import SharedModels
from pointsman.serve.upstreams.attempts import Service
from pointsman.serve.upstreams.base import Upstream

if TYPE_CHECKING:
    from pointsman.serve.autopilot.autopilot import Autopilot
    from pointsman.serve.drift.monitor import DriftMonitor
    from pointsman.serve.engine.cascade import Cascade
    from pointsman.serve.engine.rules import Rules

__all__ = ["build_pipeline"]


def build_pipeline(
    config: Config,
    *,
    candidates: Sequence[str],
    pair: ModelPair,
    resolve: ResolveModel,
    routers: Mapping[str, ServedRouter],
    services: Mapping[str, Service],
    upstreams: Mapping[str, Upstream],
    policies: Policies,
    prices: PairPrices,
    price_list: Mapping[str, Price],
    bills: ExpectedBills,
    drift: "DriftMonitor | None",
    autopilot: "Autopilot | None",
    threads: RouterThreads,
    in_step: InStep,
    makers: Makers,
    rules: "Rules | None" = None,
    cascade: "Cascade | None" = None,
    shared_sessions: SharedModels | None,
) -> tuple[Step, ...]:
    """The steps for a configuration, in the order in which they run.

    Args:
        candidates: the models to route among, the reference first.
        pair: the reference and the cheapest of them.
        prices: of this pair.
    """
    capabilities = {name: model.capabilities for name, model in config.models.items() if model.capabilities is not None}
    windows = {name: model.context_tokens for name, model in config.models.items() if model.context_tokens is not None}
    sessions = policies.sessions(config.sessions)
    margin = config.sessions.margin if config.sessions is not None else None
    many = len(candidates) > 2
    first_model = None if many else FirstModel(routers, pair, threads)  # of many it also depends on bills, which move
    steps: list[Step | None] = [
        resolve,
        ScorePrompt(routers, threads, in_step, timeout_s=config.server.routing_timeout_s),
        SetThreshold(policies, pair, candidates),
        ApplyCertificate(autopilot) if autopilot is not None else None,
        CheckSurface(upstreams),
        CheckTranslation(upstreams),
        CheckCapabilities(capabilities) if capabilities else None,
        BackgroundToWeak() if config.background == "weak" else None,
        ReturnToMaker(makers),
        CheckContext(windows) if windows else None,
        CheckCircuits(services) if many and config.fallback != "none" else None,
        ApplyRules(rules, policies, threads) if rules is not None else None,
        KeepConversation(sessions, config.sessions, prices, first_model=first_model, shared=shared_sessions)
        if sessions is not None and config.sessions is not None
        else None,
        ChooseAmong(bills, margin=margin or 0.0) if many else ChooseModel(pair),
        cascade.plan if cascade is not None else None,
        StrongOnDrift(drift, pair) if drift is not None else None,
        HoldBounds(policies, pair),
        ReserveBudget(policies, pair, price_list, config.models) if policies.hard else None,
        CountDecision(policies, sessions, routers={} if many else routers, shared=shared_sessions),
    ]
    return tuple(step for step in steps if step is not None)
