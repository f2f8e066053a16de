"""Sends tool results and stored responses back to the model that produced the call or response."""

from pointsman.serve.engine.steps.set_threshold import refuse_for_budget
from pointsman.serve.protocols.turns import held_marks, pending_marks
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import owner_of, session_of
from pointsman.serve.request.makers import Makers

__all__ = ["ReturnToMaker"]


class ReturnToMaker:
    """A tool result goes to the model that made the call; a stored response continues where it is stored.

    A tool result may fall back to another model; a stored response may not.
    """

    def __init__(self, makers: Makers) -> None:
        self._makers = makers

    def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        document = context.request.document
        if held := held_marks(document):
            context.is_bound = True
            if (maker := self._maker(context, held)) is not None:
                self._bind(context, maker)
        elif pending := pending_marks(document):
            maker = self._maker(context, pending)
            if maker in context.candidates:
                context.sticky, context.sticky_reason = maker, "tool loop"

    def _maker(self, context: RequestContext, marks: tuple[str, ...]) -> str | None:
        return self._makers.maker(marks, owner=owner_of(context), conversation=lambda: session_of(context))

    def _bind(self, context: RequestContext, maker: str) -> None:
        if maker not in context.candidates and context.ruled is not None and context.ruled.exhausted:
            refuse_for_budget(f"{context.policy}, and only {maker} can continue this conversation")
        context.candidates = (maker,)
        context.sticky, context.sticky_reason = maker, "holds the conversation"
