"""Sends what a drifted router decides to the strong model."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pointsman.serve.request.context import Exchange

if TYPE_CHECKING:
    from pointsman.serve.drift.monitor import DriftMonitor

__all__ = ["StrongOnDrift"]


class StrongOnDrift:
    """The step after the choice: while an alarm stands and the configuration says so, strong answers, if it may."""

    def __init__(self, monitor: "DriftMonitor") -> None:
        self._monitor = monitor

    async def __call__(self, exchange: Exchange) -> None:
        decision = exchange.decision
        if decision is None or decision.router is None or decision.win_rate is None:
            return
        if self._monitor.falls_back(decision.router):
            exchange.decision = replace(decision, model=decision.candidates[0], reason="drift")
