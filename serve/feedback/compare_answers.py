"""Asks the other model and the judge, and makes the comparison of the two answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from pointsman.core.answer_signals import Answer, known_signals
from pointsman.core.decision import Decision
from pointsman.core.errors import UpstreamError
from pointsman.core.pair import ModelPair
from pointsman.serve.config import ShadowConfig
from pointsman.serve.config.shadow import NO_JUDGE
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.sample import Sample, answer_text, known_answer
from pointsman.serve.feedback.shadow_request import other_model, shadow_request
from pointsman.serve.http.errors import RequestError
from pointsman.serve.judging.verdict import judge_prompt, parse_verdict
from pointsman.serve.money.billing import Billing
from pointsman.serve.money.ledger import SHADOW_KEY, Ledger
from pointsman.serve.money.metrics import MoneyMetrics
from pointsman.serve.protocols.logprobs import refuses_logprobs
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.store.rows import ComparisonRow, clean_text
from pointsman.serve.upstreams.base import Call, Upstream
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["AnswerComparer", "Scorer"]

_SHARES = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}
_SCORER = "scorer"  # who judged, where a scorer did
Scorer: TypeAlias = Callable[[str, str, Mapping[str, Any]], Awaitable[float | None]]  # question, answer, request


class _RefusedError(UpstreamError):
    """A model may have refused a request for its log-probabilities."""


class AnswerComparer:
    """Compares answers, and charges what that costs under a key of its own."""

    def __init__(
        self, ledger: Ledger, money: MoneyMetrics, *, refused_logprobs: set[str], keep_characters: int
    ) -> None:
        """Asks nobody before `reconfigure`; see `Shadow`."""
        self._ledger, self._money = ledger, money
        self._refused_logprobs, self._keep_characters = refused_logprobs, keep_characters
        self._upstreams: Mapping[str, Upstream] = {}
        self._billing: Billing | None = None
        self._scorer: Scorer | None = None
        self.scorer_usd = 0.0

    def reconfigure(
        self, upstreams: Mapping[str, Upstream], billing: Billing, scorer: Scorer | None, scorer_usd: float
    ) -> None:
        """Asks these from now on, and pays these prices: each call is billed as it was sent, whatever follows.

        See `Shadow.reconfigure`.
        """
        self._upstreams, self._billing, self._scorer, self.scorer_usd = upstreams, billing, scorer, scorer_usd

    async def ask_other(self, sample: Sample, config: ShadowConfig, pair: ModelPair, charges: list[Charge]) -> Other:
        """The other model's answer.

        Args:
            charges: what is paid is added, also of what fails.

        Raises:
            UpstreamError, RequestError: it failed.
        """
        request = shadow_request(sample.document, config)
        answer, attempt = await self._other_answer(other_model(sample, pair), request, pair, charges)
        return Other(answer, attempt, charges[-1].usage.output_tokens)

    async def compare(
        self, sample: Sample, other: Other, config: ShadowConfig, pair: ModelPair, charges: list[Charge]
    ) -> Compared:
        """Asks the judge about both answers, in both orders.

        Args:
            charges: of the comparison so far; what is paid is added, also of what fails.

        Raises:
            UpstreamError, RequestError: the judge failed.
        """
        shares = [0.5]
        if config.judge == NO_JUDGE:
            shares = [await self._scored(sample, other.answer, charges)]
        elif other.answer != sample.answer:
            texts = (sample.answer, other.answer)
            orders = (judge_prompt(sample.question, *texts), judge_prompt(sample.question, *reversed(texts)))
            asked = [
                {"messages": [{"role": "user", "content": text}], config.limit_parameter: config.judge_max_tokens}
                for text in orders
            ]
            first, second = [(await self._ask(config.judge, request, charges))[0] for request in asked]
            shares = [_share(first), 1.0 - _share(second)]
        mean = sum(shares) / len(shares)
        prompt = sample.prompt or sample.question
        said = Answer(sample.answer, output_tokens=sample.n_tokens)
        if sample.attempt is not None:
            said = known_answer(sample.attempt, sample.answer, sample.n_tokens)
        other_said = known_answer(other.attempt, other.answer, other.n_tokens)
        now = time.time()
        row = ComparisonRow(
            id=new_row_id(now),
            request_id=sample.request_id,
            decision_id=sample.decision_id,
            at=now,
            model_a=sample.model,
            model_b=other_model(sample, pair),
            outcome=0.5 if mean == 0.5 else float(mean > 0.5),
            judge=_SCORER if config.judge == NO_JUDGE else config.judge,
            cost_usd=sum(charge.cost_usd or 0.0 for charge in charges),
            tokens_a=sample.n_tokens,
            tokens_b=other.n_tokens,
            answer_a=self._kept(sample.answer),
            answer_b=self._kept(other.answer),
            signals_a=known_signals(prompt, said),
            signals_b=known_signals(prompt, other_said),
        )
        share = mean if config.judge == NO_JUDGE else row.outcome
        return Compared(row, len(set(shares)) == 1, share, other, sample.answer)

    async def _scored(self, sample: Sample, answer: str, charges: list[Charge]) -> float:
        """Share of the win of the answer that was given, by the scorer; half where people will say."""
        scorer, usd = self._scorer, self.scorer_usd
        if scorer is None:
            return 0.5
        scores = []
        for text in (sample.answer, answer):
            scores.append(await scorer(sample.question, text, sample.document))
            if usd > 0.0:
                self._charge(Charge(_SCORER, Usage(0, 0), usd), charges)
        given, other = scores
        if given is None or other is None:
            raise UpstreamError("the scorer gave no score")
        return (1.0 + given - other) / 2.0

    def _kept(self, text: str) -> str | None:
        return clean_text(text[: self._keep_characters]) if self._keep_characters else None

    async def _other_answer(
        self, model: str, request: Mapping[str, Any], pair: ModelPair, charges: list[Charge]
    ) -> tuple[str, Attempt]:
        """What the other model says; of the weak model with log-probabilities, where it tells them."""
        if model != pair.weak or model in self._refused_logprobs or {"logprobs", "top_logprobs"} & set(request):
            return await self._ask(model, request, charges)
        try:
            return await self._ask(model, {**request, "logprobs": True, "top_logprobs": 2}, charges)
        except _RefusedError:
            found = await self._ask(model, request, charges)
            self._refused_logprobs.add(model)
            return found
        except RequestError:  # a translator that has no such parameter
            return await self._ask(model, request, charges)

    async def _ask(self, model: str, request: Mapping[str, Any], charges: list[Charge]) -> tuple[str, Attempt]:
        """What a model says, and the attempt; what it charges is booked whatever comes of it."""
        document, upstream, billing = {**request, "model": model}, self._upstreams.get(model), self._billing
        if upstream is None or billing is None:
            raise UpstreamError(f"model {model!r} is no longer configured")
        decision = Decision(model, None, None, None, "shadow", (model,))
        call = Call(CHAT.path, write_json(document), document, False, decision)
        attempt = Attempt(model)
        try:
            attempt.reply = await upstream.send(call)
        except asyncio.CancelledError:
            attempt.abandoned = True
            raise
        finally:
            if (usage := attempt.usage(document)) is not None:
                self._charge(Charge(model, usage, billing.cost_usd(model, usage)), charges)
        if attempt.reply.status >= 400:
            refused = "logprobs" in request and refuses_logprobs(attempt.reply.status, attempt.reply.body)
            raise (_RefusedError if refused else UpstreamError)(f"model {model!r} answered {attempt.reply.status}")
        if not (text := answer_text(attempt)):
            raise UpstreamError(f"model {model!r} gave an empty answer")
        return text, attempt

    def _charge(self, charge: Charge, charges: list[Charge]) -> None:
        charges.append(charge)
        self._ledger.add(charge, key=SHADOW_KEY)
        self._money.count(charge)


def _share(verdict: str) -> float:
    """Share of the win that a verdict gives to its first answer.

    Raises:
        UpstreamError: it names no winner, or several.
    """
    winner = parse_verdict(verdict)
    if winner is None:
        raise UpstreamError("the judge's answer names no winner, or several")
    return _SHARES[winner]
