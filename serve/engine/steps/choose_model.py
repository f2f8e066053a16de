"""Chooses the model."""

from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair
from pointsman.serve.request.context import RequestContext

__all__ = ["ChooseModel"]


class ChooseModel:
    """Strong iff win_rate >= threshold, or where there is no win rate; a sticky conversation keeps its model."""

    def __init__(self, pair: ModelPair) -> None:
        self._pair = pair

    async def __call__(self, context: RequestContext) -> None:
        field = context.parsed
        if field is not None and field.model is not None:
            context.decision = Decision(field.model, None, None, None, "pass-through", (field.model,))
            return
        win_rate, threshold = context.win_rate, context.threshold
        strong = win_rate is None or threshold is None or win_rate >= threshold
        model = self._pair.strong if strong else self._pair.weak
        candidates = context.candidates or (self._pair.strong, self._pair.weak)
        if context.sticky is not None and context.sticky != model:
            model, context.reason = context.sticky, context.sticky_reason
        context.decision = Decision(
            model=model if model in candidates else candidates[0],
            win_rate=win_rate,
            threshold=threshold,
            router=field.router if field is not None else None,
            reason=context.reason,
            candidates=candidates,
            policy=context.policy,
        )
