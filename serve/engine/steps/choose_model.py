"""Chooses the model."""

import random
from collections.abc import Sequence

from pointsman.core.choice import Candidate, Choice, choose, choose_and_turn, turning_point
from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair
from pointsman.core.recent import NEVER_STRONG
from pointsman.serve.engine.expected_bills import ExpectedBills
from pointsman.serve.request.context import RequestContext

__all__ = ["ChooseAmong", "ChooseModel"]


class ChooseModel:
    """Of two: strong iff win_rate >= threshold, or without a win rate; a sticky conversation keeps its model."""

    def __init__(self, pair: ModelPair) -> None:
        self._pair = pair

    def __call__(self, context: RequestContext) -> None:
        if _passed_through(context):
            return
        field = context.parsed
        win_rate, threshold = context.decided_rate, context.threshold
        context.point = win_rate
        strong = win_rate is None or threshold is None or win_rate >= threshold
        model = self._pair.strong if strong else self._pair.weak
        candidates = context.candidates or (self._pair.strong, self._pair.weak)
        if context.sticky is not None and context.sticky != model:
            model, context.reason = context.sticky, context.sticky_reason
        rule = context.rule
        if rule is not None and rule.models and model not in rule.models:
            model, context.reason = rule.models[0], rule.reason
        context.decision = Decision(
            model=model if model in candidates else candidates[0],
            win_rate=win_rate,
            threshold=threshold,
            router=field.router if field is not None else None,
            reason=context.reason,
            candidates=candidates,
            policy=context.policy,
            rule=rule.name if rule is not None else None,
        )


class ChooseAmong:
    """Of any number: by expected quality and expected bill, see `core.choice`.

    A conversation changes its model only for a dearer one that is ahead by the margin; the bill of its own
    model counts what was said so far at the cached price.
    """

    def __init__(self, bills: ExpectedBills, *, margin: float) -> None:
        """Takes the expected bills, and the lead in win rate that makes a conversation change its model."""
        self._bills = bills
        self._margin = margin

    def __call__(self, context: RequestContext) -> None:
        if _passed_through(context):
            return
        field = self._bills.candidates(context)
        reference = field[0]
        able = [candidate for candidate in field if candidate.name in context.candidates]
        threshold = 0.0 if context.threshold is None else min(context.threshold, NEVER_STRONG)
        worth = self._bills.point_usd(context)
        level = 1.0 - random.random()
        if len(able) == len(field) and not context.dry_run:
            choice, context.point = choose_and_turn(field, reference, threshold=threshold, level=level, point_usd=worth)
        else:
            choice = choose(able, reference, threshold=threshold, point_usd=worth)
            if not context.dry_run:
                context.point = turning_point(field, reference, level=level, point_usd=worth)
        if context.planned in context.candidates:
            choice = _first(choice, context.planned)
        if (rule := context.rule) is not None and rule.models and choice.model not in rule.models:
            choice, context.reason = self._within(rule.models, choice, reference, threshold, worth), rule.reason
        kept = context.current if self._stays(context, choice) else None
        if context.sticky in context.candidates:
            kept = context.sticky
        if rule is not None and rule.models and kept not in rule.models:
            kept = None
        if kept is not None and kept != choice.model:
            choice = _first(choice, kept)
            context.reason = context.sticky_reason
        context.decision = Decision(
            model=choice.model,
            win_rate=context.win_rate,
            threshold=context.threshold,
            router=context.parsed.router if context.parsed is not None else None,
            reason=context.reason,
            candidates=tuple([each.candidate.name for each in choice.ranking]),
            policy=context.policy,
            weighed=choice.ranking,
            share=choice.share,
            rule=rule.name if rule is not None else None,
        )

    @staticmethod
    def _within(
        models: Sequence[str], choice: Choice, reference: Candidate, threshold: float, worth: float | None
    ) -> Choice:
        """The order of the choice with some models moved to the front."""
        inside = [each.candidate for each in choice.ranking if each.candidate.name in models]
        order = choose(inside, reference, threshold=threshold, point_usd=worth).ranking
        place = {each.candidate.name: i for i, each in enumerate(order)}
        return Choice(tuple(sorted(choice.ranking, key=lambda each: place.get(each.candidate.name, len(place)))))

    def _stays(self, context: RequestContext, choice: Choice) -> bool:
        current = next((each for each in choice.ranking if each.candidate.name == context.current), None)
        best = choice.ranking[0]
        if current is None or current is best:
            return False
        if current.score is None or best.score is None:
            return True
        upwards = best.relative_bill > current.relative_bill
        return not (upwards and best.score + self._margin < current.score)


def _passed_through(context: RequestContext) -> bool:
    """Decides a request that names a model itself."""
    field = context.parsed
    if field is None or field.model is None:
        return False
    context.decision = Decision(field.model, None, None, None, "pass-through", (field.model,))
    return True


def _first(choice: Choice, name: str | None) -> Choice:
    """The choice with one candidate moved to the front."""
    return Choice(tuple(sorted(choice.ranking, key=lambda each: each.candidate.name != name)))
