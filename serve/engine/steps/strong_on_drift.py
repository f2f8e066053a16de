"""Sends requests to the strong model while a drift alarm is on."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pointsman.core.pair import ModelPair
from pointsman.serve.request.context import RequestContext

if TYPE_CHECKING:
    from pointsman.serve.drift.monitor import DriftMonitor

__all__ = ["StrongOnDrift"]


class StrongOnDrift:
    """Replaces the choice by the strong model where the router's prompts have drifted and the configuration says so."""

    def __init__(self, monitor: "DriftMonitor", pair: ModelPair) -> None:
        self._monitor = monitor
        self._pair = pair

    def __call__(self, context: RequestContext) -> None:
        decision = context.decision
        if decision is None or decision.router is None or decision.win_rate is None or context.sticky is not None:
            return
        if context.rule is not None and context.rule.models and self._pair.strong not in context.rule.models:
            return
        key = None if context.key is None else context.key.id
        if self._pair.strong in decision.candidates and self._monitor.falls_back(decision.router, key):
            context.decision = replace(decision, model=self._pair.strong, reason="drift")
