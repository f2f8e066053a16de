"""Sends work that no user waits for to the weak model."""

from pointsman.serve.protocols.background import background_work
from pointsman.serve.request.context import RequestContext

__all__ = ["BackgroundToWeak"]


class BackgroundToWeak:
    """Titles, topics and commit messages that a client requests on its own go to the weak model."""

    def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None or context.pair is None:
            return
        kind = background_work(context.request.document)
        if kind is not None and context.pair.weak in context.candidates:
            context.sticky, context.sticky_reason = context.pair.weak, f"background work: {kind}"
