"""Counts decisions, and the cost of finished requests."""

import time
from collections.abc import Mapping
from dataclasses import replace

from pointsman.core.decision import Decision
from pointsman.core.sessions import Sessions
from pointsman.serve.engine.steps.first_model import steady_threshold
from pointsman.serve.policy.rules import Policies
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.policy.state import PolicyState
from pointsman.serve.protocols.surfaces import COUNT_TOKENS
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import session_of
from pointsman.serve.request.record import Record
from pointsman.serve.request.worker_sessions import SharedModels

__all__ = ["CountDecision", "CountSpending"]


class CountDecision:
    """Reports the decision to the policies and the conversation; a dry run is not counted."""

    def __init__(
        self,
        policies: Policies,
        sessions: Sessions | None,
        *,
        routers: Mapping[str, ServedRouter] | None = None,
        shared: SharedModels | None = None,
    ) -> None:
        """Counts.

        Args:
            sessions: the models of conversations, as this process knows them.
            routers: derive the model that other processes take a conversation to be with.
            shared: conversations with another model, where processes share a store.
        """
        self._policies = policies
        self._sessions = sessions
        self._routers = routers or {}
        self._shared = shared

    def __call__(self, context: RequestContext) -> None:
        decision, ruled = context.decision, context.ruled
        counted = not context.dry_run and context.surface is not COUNT_TOKENS
        if not counted or decision is None or ruled is None or decision.router is None:
            return
        strong = context.share_of(decision.model)
        counted_now = replace(ruled, shares=()) if _is_open(context) else ruled
        self._policies.learn(decision.router, context.point, counted_now, strong=strong)
        context.reservations = self._policies.begin(ruled.budgets, strong=strong)
        if self._sessions is not None:
            self._keep(self._sessions, context, decision)

    def _keep(self, sessions: Sessions, context: RequestContext, decision: Decision) -> None:
        session, now = session_of(context), time.time()
        known = sessions.model(session, now)
        if self._shared is not None and decision.model != known:
            is_told = known is None and decision.model == self._told(context, decision)
            self._shared.put(session, decision.model, is_told=is_told)
        sessions.keep(session, decision.model, now)

    def _told(self, context: RequestContext, decision: Decision) -> str | None:
        """The model that a process without this conversation would derive for its first turn."""
        served = self._routers.get(decision.router or "")
        threshold = steady_threshold(context, served) if served is not None else None
        if threshold is None or context.win_rate is None or context.score is not None or context.pair is None:
            return None
        return context.pair.strong if context.win_rate >= threshold else context.pair.weak


class CountSpending:
    """Observer of finished requests: reports their cost to the budgets."""

    def __init__(self, policies: PolicyState) -> None:
        self._policies = policies

    def __call__(self, record: Record) -> None:
        context = record.context
        if context is not None:
            strong = context.share_of(record.model)
            if _is_open(context) and context.ruled is not None:
                for share in context.ruled.shares:
                    share.count(strong=strong)
            self._policies.settle(context.reservations, record.cost_usd, strong=strong)
            for held in context.held:
                held.release()
        for charge in record.charges:
            if charge.cost_usd is not None:
                self._policies.largest.learn(charge.model, charge.cost_usd)


def _is_open(context: RequestContext) -> bool:
    """Whether the answering model is still unknown, since an answer must be read first."""
    return not context.dry_run and context.cascade is not None and context.cascade.runs
