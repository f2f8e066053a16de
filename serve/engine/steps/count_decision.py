"""Counts decisions, and what they cost once they have ended."""

import time
from dataclasses import replace

from pointsman.core.sessions import Sessions
from pointsman.serve.policy.rules import Policies
from pointsman.serve.policy.state import PolicyState
from pointsman.serve.protocols.surfaces import COUNT_TOKENS
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import session_of
from pointsman.serve.request.record import Record

__all__ = ["CountDecision", "CountSpending"]


class CountDecision:
    """Tells the policies and the conversation where the request goes; a dry run is not counted."""

    def __init__(self, policies: Policies, sessions: Sessions | None) -> None:
        self._policies = policies
        self._sessions = sessions

    async def __call__(self, context: RequestContext) -> None:
        decision, ruled = context.decision, context.ruled
        counted = not context.dry_run and context.surface is not COUNT_TOKENS
        if not counted or decision is None or ruled is None or decision.router is None:
            return
        strong = context.share_of(decision.model)
        counted_now = replace(ruled, shares=()) if _is_open(context) else ruled
        self._policies.learn(decision.router, context.point, counted_now, strong=strong)
        context.reservations = self._policies.begin(ruled.budgets, strong=strong)
        if self._sessions is not None:
            self._sessions.keep(session_of(context), decision.model, time.time())


class CountSpending:
    """Observer of finished requests: tells the budgets what each one cost."""

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
    """Whether it is not known yet who will answer, as an answer is to be read first."""
    return not context.dry_run and context.cascade is not None and context.cascade.runs
