"""The expected cost of a request with each candidate."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pointsman.core.choice import Candidate
from pointsman.core.dollars import dollars
from pointsman.core.expected_cost import AnswerTokens, LabelledBill, expected_usd
from pointsman.core.hull import point_usd
from pointsman.core.prices import Price
from pointsman.core.router import CandidateMeans, Router
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import next_turn
from pointsman.serve.request.record import Record

__all__ = ["ExpectedBills", "LearnAnswerTokens", "TypicalAnswer"]

_LOG = logging.getLogger(__name__)
_CHANGED = 1.25  # times the labelled bill, or less than its inverse: more than caches and rounding explain
_OTHER, _ENOUGH = 2.0, 50.0  # times the labelled length, or less than its inverse, over so many answers
_TYPICAL_TOKENS = 300.0  # of a prompt, where the labels do not say


class TypicalAnswer(NamedTuple):
    """An answer of a candidate to a prompt like the labelled ones.

    Attributes:
        model: the candidate.
        usd: its expected bill; None where it is not known.
        input_tokens, output_tokens: that the bill rests on.
    """

    model: str
    usd: float | None
    input_tokens: float
    output_tokens: float


class ExpectedBills:
    """Expected bills of the candidates, and the dollars that one point of quality is worth at threshold 1.

    Attributes:
        typical: by router, each candidate's on a prompt like the labelled ones; None where it is not known.
        cheapest: the candidate with the lowest bill on a typical prompt, except the reference; the last one if a price
            is not known.
    """

    def __init__(
        self,
        candidates: Sequence[str],
        routers: Mapping[str, ServedRouter],
        prices: Mapping[str, Price],
        answers: AnswerTokens,
    ) -> None:
        """Takes the candidates, the reference first, the known prices, and the lengths of answers."""
        self._names, self._prices, self._answers, self._routers = tuple(candidates), prices, answers, routers
        self._priced = [prices.get(name) for name in candidates]
        self.typical = {name: [each.usd for each in self.typical_answers(name)] for name in routers}
        self._worth = {name: _worth(usd, routers[name].router) for name, usd in self.typical.items()}
        for name, served in routers.items():
            self._warn_of_other_prices(name, served.router)
        self.cheapest = self._cheapest(next(iter(self.typical.values()), []))

    def candidates(self, context: RequestContext) -> list[Candidate]:
        """Every candidate with its win rate and expected bill, the reference first, whether or not it can answer."""
        rates: Sequence[float | None] = context.win_rates or [None] * len(self._names)
        labelled: Sequence[LabelledBill | None] = context.bills or [None] * len(self._names)
        turn = next_turn(context, output_tokens=0.0)
        prefix, total = turn.prefix_tokens, turn.prefix_tokens + turn.new_tokens
        if not total:
            total = len(context.request.prompt) / 4.0
        found = []
        for name, price, rate, bill in zip(self._names, self._priced, rates, labelled, strict=True):
            usd = expected_usd(
                price,
                input_tokens=total,
                cached_tokens=prefix if name == context.current else 0.0,
                output_tokens=self._answers.mean(name) if bill is None or bill.output_tokens is None else 0.0,
                labelled=bill,
            )
            found.append(Candidate(name, rate, usd))
        return found

    def output_tokens(self, context: RequestContext, model: str) -> float:
        """Expected length of a candidate's answer: of similar labelled prompts, else of its live answers."""
        labelled = context.bills[self._names.index(model)] if context.bills and model in self._names else None
        if labelled is not None and labelled.output_tokens is not None:
            return labelled.output_tokens
        return self._answers.mean(model)

    def point_usd(self, context: RequestContext) -> float | None:
        """See `core.choice`; None where the router does not know the candidates' mean scores, or a price is missing."""
        router = context.parsed.router if context.parsed is not None else None
        return self._worth.get(router) if router is not None else None

    def typical_answers(self, router: str) -> list[TypicalAnswer]:
        """What each candidate is expected to charge now for a prompt like the labelled ones."""
        read = self._routers[router].router
        means = read.means or (CandidateMeans(0.0),) * len(self._names)
        return [self._typical(name, mean) for name, mean in zip(self._names, means, strict=True)]

    def other_lengths(self) -> dict[str, tuple[float, float]]:
        """Candidates whose live answers are of quite another length than the labelled ones, with both mean lengths."""
        found = {}
        for name, mean in zip(self._names, next(iter(self._routers.values())).router.means or (), strict=False):
            live, count = self._answers.seen(name)
            if mean.output_tokens and count >= _ENOUGH and not 1.0 / _OTHER <= live / mean.output_tokens <= _OTHER:
                found[name] = (float(mean.output_tokens), live)
        return found

    def worth(self, router: str) -> float | None:
        """Dollars that a point of quality is worth at threshold 1; None where that is not known."""
        return self._worth.get(router)

    def _typical(self, name: str, mean: CandidateMeans) -> TypicalAnswer:
        read = _TYPICAL_TOKENS if mean.input_tokens is None else float(mean.input_tokens)
        written = self._answers.mean(name) if mean.output_tokens is None else float(mean.output_tokens)
        labelled = LabelledBill(mean.usd, written)
        usd = expected_usd(self._prices.get(name), input_tokens=read, output_tokens=written, labelled=labelled)
        return TypicalAnswer(name, None if usd is None else float(usd), read, written)

    def _warn_of_other_prices(self, router: str, read: Router) -> None:
        """Warns of labelled bills that were paid at other prices than the configured ones."""
        changed = []
        for name, mean in zip(self._names, read.means or (), strict=False):
            price = self._prices.get(name)
            if price is None or not mean.usd or mean.input_tokens is None or mean.output_tokens is None:
                continue
            now = expected_usd(price, input_tokens=mean.input_tokens, output_tokens=mean.output_tokens)
            if now is not None and not 1.0 / _CHANGED <= now / mean.usd <= _CHANGED:
                changed.append(f"{name} {dollars(mean.usd)} then, {dollars(now)} now")
        if changed:
            _LOG.warning(
                "router %s was trained at other prices than the configured ones (a typical prompt: %s): "
                "shares, dollars and bounds on loss hold at the old ones; correct models.<name>.price, "
                "or train and calibrate again",
                router,
                "; ".join(changed),
            )

    def _cheapest(self, usd: Sequence[float | None]) -> str:
        known = [(bill, name) for bill, name in zip(usd, self._names, strict=False) if bill is not None]
        others = [each for each in known if each[1] != self._names[0]]
        return min(others)[1] if len(known) == len(self._names) else self._names[-1]


def _worth(usd: Sequence[float | None], router: Router) -> float | None:
    known = [bill for bill in usd if bill is not None]
    if router.means is None or len(known) < len(usd):
        return None
    return point_usd(np.array(known), np.array([mean.score for mean in router.means]))


class LearnAnswerTokens:
    """Observer of finished requests: learns the length of each model's answers."""

    def __init__(self, answers: AnswerTokens) -> None:
        self._answers = answers

    def __call__(self, record: Record) -> None:
        for charge in record.charges:
            self._answers.learn(charge.model, charge.usage.output_tokens)
