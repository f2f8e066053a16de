"""Keeps a conversation with its model."""

import time
from typing import TypeAlias

from pointsman.core.prices import Price
from pointsman.core.sessions import Sessions, upgrade_threshold
from pointsman.serve.config import SessionsConfig
from pointsman.serve.protocols.turns import pending_marks
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import is_first_turn, next_turn, session_of

__all__ = ["KeepConversation", "PairPrices"]

_MARGIN = 0.05  # win rate that an upgrade needs beyond the threshold, where no prices say what it costs
PairPrices: TypeAlias = tuple[Price | None, Price | None]  # of the strong and the weak model


class KeepConversation:
    """Keeps a conversation with its model, unless the win rate argues for the strong one by enough."""

    def __init__(self, sessions: Sessions, config: SessionsConfig, prices: PairPrices) -> None:
        self._sessions = sessions
        self._prices = prices
        self._output_tokens = config.output_tokens
        default = _MARGIN if None in prices else 0.0
        self._margin = default if config.margin is None else config.margin

    async def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None or context.pair is None:
            return
        if context.sticky is not None or is_first_turn(context):
            return
        model = self._sessions.model(session_of(context), time.time())
        if context.win_rates is not None:
            context.current = model
        elif model in context.candidates and self._stays(context, strong=model == context.pair.strong):
            context.sticky = model

    def _stays(self, context: RequestContext, *, strong: bool) -> bool:
        if strong or context.threshold is None or not context.request.prompt:
            return True
        if pending_marks(context.request.document):  # of a turn that goes on
            return True
        if context.win_rate is None:
            return False
        turn = next_turn(context, output_tokens=self._output_tokens)
        dear, cheap = self._prices
        return context.win_rate < upgrade_threshold(
            context.threshold, turn, strong=dear, weak=cheap, margin=self._margin
        )
