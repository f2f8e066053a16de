"""Shadow comparisons: the other model answers a random share of requests too, and a judge compares both answers.

They run off the request path, within a daily budget, on live traffic. They show where the weak model is good enough and
how long the strong model's answers would have been, and serve as training data.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from prometheus_client import CollectorRegistry, Counter

from pointsman.core.answer_signals import Answer, known_signals
from pointsman.core.decision import Decision
from pointsman.core.errors import ConfigError, UpstreamError
from pointsman.core.pair import ModelPair
from pointsman.serve.config import ShadowConfig
from pointsman.serve.config.shadow import NO_JUDGE
from pointsman.serve.feedback.dollars_of_keys import DollarsOfKeys
from pointsman.serve.feedback.sample import Sample, answer_text, known_answer, take_sample
from pointsman.serve.http.errors import RequestError
from pointsman.serve.judging.budget import estimate_tokens
from pointsman.serve.judging.verdict import TEMPLATE, judge_prompt, parse_verdict
from pointsman.serve.money.billing import Billing
from pointsman.serve.money.ledger import SHADOW_KEY, Ledger
from pointsman.serve.money.metrics import MoneyMetrics
from pointsman.serve.protocols.logprobs import refuses_logprobs
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.request.ids import new_row_id
from pointsman.serve.request.record import Record
from pointsman.serve.store.rows import ComparisonRow, Row, clean_text
from pointsman.serve.upstreams.base import Call, Upstream
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["Compared", "Other", "Shadow", "check_shadow", "shadow_request"]

_LOG = logging.getLogger(__name__)
_SHARES = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}
_SCORER = "scorer"  # who judged, where a scorer did
_LIMITS = ("max_tokens", "max_completion_tokens")
_LEFT_OUT = ("stream", "stream_options", "store", "metadata", "user")


class _RefusedError(UpstreamError):
    """A model may have refused a request for its log-probabilities."""


@dataclass(frozen=True, slots=True)
class Other:
    """What the other model of a pair answered to a sample's request.

    Attributes:
        answer: its text.
        attempt: how it came.
        n_tokens: of the answer.
        cost_usd: what it cost beyond the request itself.
    """

    answer: str
    attempt: Attempt
    n_tokens: int
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison that was made.

    Attributes:
        row: for the store.
        agreed: whether the judge said the same in both orders, or was not asked.
        share: of the win that goes to `model_a`, in [0, 1]; the row has it rounded to 0, 0.5 or 1.
        other: what the other model said.
    """

    row: ComparisonRow
    agreed: bool
    share: float
    other: Other


Scorer: TypeAlias = Callable[[str, str, Mapping[str, Any]], Awaitable[float | None]]  # question, answer, request


class Shadow:
    """Samples finished requests and compares them; an observer of records, and a component.

    Its money is spending like any other: it counts towards budgets, under a key of its own.
    """

    def __init__(
        self,
        config: ShadowConfig,
        *,
        ledger: Ledger,
        money: MoneyMetrics,
        put: Callable[[Row], None],
        registry: CollectorRegistry,
        rng: random.Random | None = None,
        refused_logprobs: set[str] | None = None,
        keep_characters: int = 0,
    ) -> None:
        """Compares nothing before `show` and `start`.

        Args:
            money: counts what is charged.
            put: takes the comparisons.
            registry: of its own metric.
            refused_logprobs: models that refused to tell log-probabilities; added to.
            keep_characters: so much of each answer's text is kept; its signals always are.
        """
        self._config: ShadowConfig | None = config
        self._n_workers = config.concurrency
        self._ledger = ledger
        self._money = money
        self._put = put
        self._rng = rng or random.Random()
        self._queue: asyncio.Queue[Sample] = asyncio.Queue(config.queue)
        self._workers: list[asyncio.Task[None]] = []
        self._held_usd = 0.0
        self._of_keys = DollarsOfKeys(lambda: ledger.period("day"))
        self._scorer: Scorer | None = None
        self._scorer_usd = 0.0
        self._refused_logprobs = set[str]() if refused_logprobs is None else refused_logprobs
        self._keep_characters = keep_characters
        self._upstreams: Mapping[str, Upstream] = {}
        self._billing: Billing | None = None
        self._exhausted: Callable[[], bool] = lambda: False
        self._results = Counter(
            "pointsman_shadow_comparisons", "Answers drawn for comparison: compared, over budget, busy, failed.",
            ["result"], registry=registry,
        )  # fmt: skip
        for result in ("compared", "over_budget", "busy", "failed"):
            self._results.labels(result)

    def reconfigure(
        self,
        config: ShadowConfig | None,
        upstreams: Mapping[str, Upstream],
        billing: Billing,
        exhausted: Callable[[], bool] = lambda: False,
        *,
        scorer: Scorer | None = None,
        scorer_usd: float = 0.0,
    ) -> None:
        """Compares by these settings, with these models, from now on.

        Args:
            config: None compares nothing.
            exhausted: whether a hard budget is exhausted, so that only the weak model may be called.
            scorer: scores an answer in [0, 1] where no model judges; None where people will.
            scorer_usd: what scoring an answer costs.
        """
        self._config, self._upstreams, self._billing, self._exhausted = config, upstreams, billing, exhausted
        self._scorer, self._scorer_usd = scorer, scorer_usd

    async def start(self) -> None:
        """Begins to compare what is drawn."""
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work()) for _ in range(self._n_workers)]

    async def close(self) -> None:
        """Leaves what is not compared yet."""
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with suppress(asyncio.CancelledError):
                await worker
        self._workers = []

    def __call__(self, record: Record) -> None:
        """Draws from the requests that have ended."""
        if self._config is None or self._billing is None:
            return
        pair = self._billing.pair
        routed = self._billing.candidates or (pair.strong, pair.weak)
        share = self._config.strong_share if record.model == pair.strong else self._config.share
        if record.model not in routed or self._rng.random() >= share:
            return
        if (sample := take_sample(record)) is None:
            return
        try:
            self._queue.put_nowait(sample)
        except asyncio.QueueFull:
            self._results.labels("busy").inc()

    async def _work(self) -> None:
        while True:
            sample = await self._queue.get()
            if self._config is None or self._billing is None:
                continue
            try:
                compared = await self._compare_for_its_key(sample, self._config, self._billing)
                result = "over_budget" if compared is None else "compared"
                if compared is not None:
                    self._put(compared.row)
            except (UpstreamError, RequestError) as error:
                _LOG.warning("shadow comparison of request %s: %s", sample.request_id, error)
                result = "failed"
            except Exception:  # noqa: BLE001  (whatever an upstream answers, the next comparison must still be made)
                _LOG.exception("shadow comparison of request %s", sample.request_id)
                result = "failed"
            self._results.labels(result).inc()

    async def _compare_for_its_key(self, sample: Sample, config: ShadowConfig, billing: Billing) -> Compared | None:
        """Compares if the key's part of the dollars covers it, too; a comparison that fails counts at its most."""
        most_usd = self._judging_usd(sample, config, billing) + _answer_usd(sample, config, billing)
        if not self._of_keys.reserve(sample.key, most_usd, of_usd=config.max_usd_per_day * self._ledger.own_part):
            return None
        compared = await self.compare(sample)
        cost_usd = 0.0 if compared is None else compared.row.cost_usd or 0.0
        self._of_keys.settle(sample.key, reserved_usd=most_usd, usd=cost_usd)
        return compared

    async def compare(self, sample: Sample, other: Other | None = None) -> Compared | None:
        """Compares if the daily budget covers the maximum cost, and no hard budget is exhausted.

        What it can cost is set aside while it does. None where it is not left, or nothing is to be compared.

        Args:
            other: what the other model said; None asks it.

        Raises:
            UpstreamError, RequestError: the other model or the judge failed.
        """
        config, billing = self._config, self._billing
        if config is None or billing is None:
            return None
        most_usd = self._judging_usd(sample, config, billing)
        if other is None:
            most_usd += _answer_usd(sample, config, billing)
        with self._held(most_usd, config) as is_left:
            if not is_left:
                return None
            other = other or await self._other(sample, config, billing)
            return await self._compare(sample, other, config, billing)

    async def ask(self, sample: Sample) -> Other | None:
        """The other model's answer alone, within the same budget; None where it is not left.

        Raises:
            UpstreamError, RequestError: it failed.
        """
        config, billing = self._config, self._billing
        if config is None or billing is None:
            return None
        with self._held(_answer_usd(sample, config, billing), config) as is_left:
            return await self._other(sample, config, billing) if is_left else None

    @contextmanager
    def _held(self, usd: float, config: ShadowConfig) -> Iterator[bool]:
        """Sets dollars aside, where so many are left."""
        spent_usd = self._ledger.spent_usd("day", key=SHADOW_KEY)
        is_left = not self._exhausted() and spent_usd + self._held_usd + usd <= config.max_usd_per_day
        held_usd = usd if is_left else 0.0
        self._held_usd += held_usd
        try:
            yield is_left
        finally:
            self._held_usd -= held_usd

    async def _other(self, sample: Sample, config: ShadowConfig, billing: Billing) -> Other:
        charges = list[Charge]()
        request = shadow_request(sample.document, config)
        answer, attempt = await self._other_answer(_other(sample, billing.pair), request, billing, charges)
        cost_usd = sum(charge.cost_usd or 0.0 for charge in charges)
        return Other(answer, attempt, charges[0].usage.output_tokens, cost_usd)

    async def _compare(self, sample: Sample, other: Other, config: ShadowConfig, billing: Billing) -> Compared:
        charges, shares = list[Charge](), [0.5]
        if config.judge == NO_JUDGE:
            shares = [await self._scored(sample, other.answer, charges)]
        elif other.answer != sample.answer:
            texts = (sample.answer, other.answer)
            orders = (judge_prompt(sample.question, *texts), judge_prompt(sample.question, *reversed(texts)))
            asked = [
                {"messages": [{"role": "user", "content": text}], config.limit_parameter: config.judge_max_tokens}
                for text in orders
            ]
            first, second = [(await self._ask(config.judge, request, billing, charges))[0] for request in asked]
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
            model_b=_other(sample, billing.pair),
            outcome=0.5 if mean == 0.5 else float(mean > 0.5),
            judge=_SCORER if config.judge == NO_JUDGE else config.judge,
            cost_usd=other.cost_usd + sum(charge.cost_usd or 0.0 for charge in charges),
            tokens_a=sample.n_tokens,
            tokens_b=other.n_tokens,
            answer_a=self._kept(sample.answer),
            answer_b=self._kept(other.answer),
            signals_a=known_signals(prompt, said),
            signals_b=known_signals(prompt, other_said),
        )
        share = mean if config.judge == NO_JUDGE else row.outcome
        return Compared(row, len(set(shares)) == 1, share, other)

    async def _scored(self, sample: Sample, answer: str, charges: list[Charge]) -> float:
        """Share of the win of the answer that was given, by the scorer; half where people will say."""
        if self._scorer is None:
            return 0.5
        scores = []
        for text in (sample.answer, answer):
            scores.append(await self._scorer(sample.question, text, sample.document))
            if self._scorer_usd > 0.0:
                self._charge(Charge(_SCORER, Usage(0, 0), self._scorer_usd), charges)
        given, other = scores
        if given is None or other is None:
            raise UpstreamError("the scorer gave no score")
        return (1.0 + given - other) / 2.0

    def _kept(self, text: str) -> str | None:
        return clean_text(text[: self._keep_characters]) if self._keep_characters else None

    async def _other_answer(
        self, model: str, request: Mapping[str, Any], billing: Billing, charges: list[Charge]
    ) -> tuple[str, Attempt]:
        """What the other model says; of the weak model with log-probabilities, where it tells them."""
        if model != billing.pair.weak or model in self._refused_logprobs or {"logprobs", "top_logprobs"} & set(request):
            return await self._ask(model, request, billing, charges)
        try:
            return await self._ask(model, {**request, "logprobs": True, "top_logprobs": 2}, billing, charges)
        except _RefusedError:
            found = await self._ask(model, request, billing, charges)
            self._refused_logprobs.add(model)
            return found
        except RequestError:  # a translator that has no such parameter
            return await self._ask(model, request, billing, charges)

    async def _ask(
        self, model: str, request: Mapping[str, Any], billing: Billing, charges: list[Charge]
    ) -> tuple[str, Attempt]:
        """What a model says, and the attempt; what it charges is booked whatever comes of it."""
        document = {**request, "model": model}
        decision = Decision(model, None, None, None, "shadow", (model,))
        call = Call(CHAT.path, orjson.dumps(document), document, False, decision)
        attempt = Attempt(model)
        try:
            attempt.reply = await self._upstreams[model].send(call)
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
            raise UpstreamError(f"model {model!r} answered without words")
        return text, attempt

    def _charge(self, charge: Charge, charges: list[Charge]) -> None:
        charges.append(charge)
        self._ledger.add(charge, key=SHADOW_KEY)
        self._money.count(charge)

    def _judging_usd(self, sample: Sample, config: ShadowConfig, billing: Billing) -> float:
        """The most that judging can cost: both answers at full length before the judge, or the scorer, twice."""
        if config.judge == NO_JUDGE:
            return 2.0 * self._scorer_usd
        read = estimate_tokens(sample.question) + estimate_tokens(sample.answer) + estimate_tokens(TEMPLATE)
        judge = billing.prices[config.judge]
        return 2.0 * judge.cost_usd(read + _longest(sample, config), config.judge_max_tokens)


def check_shadow(config: ShadowConfig, billing: Billing, *, part: str = "shadow") -> None:
    """Raises `ConfigError` where the price of a model that is asked, or of the judge, is not known."""
    judges = [config.judge] if config.judge != NO_JUDGE else []
    asked = [billing.pair.strong, *judges] + [billing.pair.weak] * (config.strong_share > 0.0)
    unpriced = [name for name in asked if name not in billing.prices]
    if unpriced:
        raise ConfigError(
            f"{part}.max_usd_per_day needs the price of {', '.join(unpriced)}: give it as models.<name>.price"
        )


def shadow_request(document: Mapping[str, Any], config: ShadowConfig) -> dict[str, Any]:
    """The request once more, for a whole answer of limited length."""
    request = {name: value for name, value in document.items() if name not in (*_LEFT_OUT, *_LIMITS)}
    limits: Mapping[str, int] = _limits(document) or {config.limit_parameter: config.max_tokens}
    return {**request, **limits}


def _limits(document: Mapping[str, Any]) -> dict[str, int]:
    """The limits of length that a request sets; what is no positive whole number is none."""
    given = {name: document.get(name) for name in _LIMITS}
    whole = {name: int(value) for name, value in given.items() if isinstance(value, (int, float)) and value >= 1}
    return {name: value for name, value in whole.items() if value == given[name] and given[name] is not True}


def _other(sample: Sample, pair: ModelPair) -> str:
    return pair.weak if sample.model == pair.strong else pair.strong


def _answer_usd(sample: Sample, config: ShadowConfig, billing: Billing) -> float:
    """The most that the other model's answer can cost."""
    question = estimate_tokens(orjson.dumps(sample.document.get("messages")).decode())
    return billing.prices[_other(sample, billing.pair)].cost_usd(question, _longest(sample, config))


def _longest(sample: Sample, config: ShadowConfig) -> int:
    return max(_limits(sample.document).values(), default=config.max_tokens)


def _share(verdict: str) -> float:
    """Share of the win that a verdict gives to its first answer.

    Raises:
        UpstreamError: it names no winner, or several.
    """
    winner = parse_verdict(verdict)
    if winner is None:
        raise UpstreamError("the judge gave no verdict that can be read")
    return _SHARES[winner]
