"""Keeps a conversation with its model."""

import time
from typing import TypeAlias

from pointsman.core.prices import Price
from pointsman.core.sessions import Sessions, upgrade_threshold
from pointsman.serve.config import SessionsConfig
from pointsman.serve.engine.steps.first_model import FirstModel
from pointsman.serve.protocols.turns import pending_marks
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import is_first_turn, next_turn, session_of
from pointsman.serve.request.worker_sessions import SharedModels

__all__ = ["KeepConversation", "PairPrices"]

_MARGIN = 0.05  # win rate that an upgrade needs beyond the threshold, where no prices say what it costs
PairPrices: TypeAlias = tuple[Price | None, Price | None]  # of the strong and the weak model


class KeepConversation:
    """Keeps a conversation with its model, unless the win rate is clearly high enough for the strong one."""

    def __init__(
        self,
        sessions: Sessions,
        config: SessionsConfig,
        prices: PairPrices,
        *,
        first_model: FirstModel | None = None,
        shared: SharedModels | None = None,
    ) -> None:
        """Keeps conversations as the configuration says.

        Args:
            first_model: derives the model of a conversation that this process does not know.
            shared: conversations with another model than that.
        """
        self._sessions = sessions
        self._first_model = first_model
        self._shared = shared
        self._prices = prices
        self._output_tokens = config.output_tokens
        default = _MARGIN if None in prices else 0.0
        self._margin = default if config.margin is None else config.margin

    async def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None or context.pair is None:
            return
        if context.sticky is not None or is_first_turn(context):
            return
        model = await self._model_of(context, context.pair.strong)
        if context.win_rates is not None:
            context.current = model
        elif model in context.candidates and self._stays(context, strong=model == context.pair.strong):
            context.sticky = model

    async def _model_of(self, context: RequestContext, strong: str) -> str | None:
        """The model of a conversation; another process may have moved it to the strong one meanwhile."""
        session, now = session_of(context), time.time()
        known = self._sessions.model(session, now)
        if known == strong:
            return known
        found = await self._shared.find(session) if self._shared is not None else None
        if found is None and known is None and self._first_model is not None:
            found = await self._first_model(context)
        if found is not None:
            self._sessions.keep(session, found, now)
        return found or known

    def _stays(self, context: RequestContext, *, strong: bool) -> bool:
        if strong or context.threshold is None or not context.request.prompt:
            return True
        if pending_marks(context.request.document):  # of a turn that goes on
            return True
        if context.decided_rate is None:
            return False
        turn = next_turn(context, output_tokens=self._output_tokens)
        dear, cheap = self._prices
        return context.decided_rate < upgrade_threshold(
            context.threshold, turn, strong=dear, weak=cheap, margin=self._margin
        )
