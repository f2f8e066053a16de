"""Filters the candidates by their circuit breakers."""

from collections.abc import Mapping

from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.attempts import Service

__all__ = ["CheckCircuits"]


class CheckCircuits:
    """Removes candidates whose circuit is open, as long as another one is left."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services

    def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        closed = tuple([model for model in context.candidates if not self._services[model].breaker.is_open])
        if closed and len(closed) < len(context.candidates):
            out = [model for model in context.candidates if model not in closed]
            context.candidates, context.reason = closed, f"circuit open: {', '.join(out)}"
