"""What server and controller share: the routers, the upstreams, and the line between them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from time import perf_counter
from zoneinfo import ZoneInfo

from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.serve.config import Config, ModelConfig
from pointsman.serve.config.digest import config_digest
from pointsman.serve.config.secret import Secret
from pointsman.serve.engine.pipeline import CountDecision, steps_before_choice
from pointsman.serve.engine.state import Memory
from pointsman.serve.engine.steps.step import ChooseModel, ResolveModel, ScorePrompt, Step
from pointsman.serve.engine.steps.strong_on_drift import StrongOnDrift
from pointsman.serve.money.billing import Billing
from pointsman.serve.money.price_list import read_tariffs
from pointsman.serve.policy.rules import Policies
from pointsman.serve.policy.served_router import ServedRouter, serve_router
from pointsman.serve.request.context import Exchange
from pointsman.serve.request.record import Record
from pointsman.serve.upstreams.attempts import Answered, Attempts, Service
from pointsman.serve.upstreams.base import Call, Upstream
from pointsman.serve.upstreams.breaker import Breaker
from pointsman.serve.upstreams.build import build_upstreams
from pointsman.serve.upstreams.stand_in import STRONG_STAND_IN, WEAK_STAND_IN

__all__ = ["Engine"]

_ROUTER_THREADS = 8


class Engine:
    """Decides and answers. It lives in one event loop, between `start` and `close`.

    Attributes:
        routers: by name, the default one first.
        upstreams: by model name, the strong one first, then the weak one.
        services: the same with their retries and breakers.
        pair: the strong and the weak model.
        line: the steps to a decision.
        policies: the rules that set the threshold.
        tariffs: prices by model, as far as they are known, and where they are from.
        billing: prices requests by them.
        digest: of the configuration and the checkpoints it was made from.
        memory: what outlives this engine when the configuration is reloaded; whoever made the first engine starts and
            closes it.
    """

    def __init__(
        self,
        config: Config,
        *,
        base_url: str | None = None,
        api_key: Secret | None = None,
        previous: "Engine | None" = None,
    ) -> None:
        """Loads every router and resolves every model.

        Args:
            base_url, api_key: for the models that name none themselves.
            previous: the engine that this one takes over from: its memory is kept, and what is known of the models
                that stay as they are.

        Raises:
            ConfigError: a model cannot be resolved; all such problems at once.
            CheckpointError, EmbedderMismatchError: a router's checkpoint is damaged or does not fit.
        """
        self.config = config
        self.digest = config_digest(config)
        self.memory: Memory = previous.memory if previous is not None else Memory.from_config(config)
        self.pair = ModelPair(config.strong or STRONG_STAND_IN, config.weak or WEAK_STAND_IN)
        self.upstreams = build_upstreams(config, self.pair, base_url=base_url, api_key=api_key)
        self.routers: dict[str, ServedRouter] = {n: serve_router(n, r) for n, r in config.routers.items()}
        tracing = self.memory.tracing
        traced = {name: tracing.upstream(name, up) if tracing else up for name, up in self.upstreams.items()}
        self.services = {name: _service(config, name, upstream, previous) for name, upstream in traced.items()}
        self._attempts = Attempts(self.services)
        self.tariffs = read_tariffs(config)
        self.billing = Billing({name: tariff.price for name, tariff in self.tariffs.items()}, self.pair)
        prices = (self._price(self.pair.strong), self._price(self.pair.weak))
        if config.shadow is not None:
            from pointsman.serve.feedback.shadow import check_shadow

            check_shadow(config.shadow, self.billing)
        self.policies = Policies(
            config.policy,
            self.routers,
            self.memory.policies,
            digest=self.digest,
            prices=prices,
            spending=self.memory.ledger,
        )
        threads = ThreadPoolExecutor(_ROUTER_THREADS, thread_name_prefix="pointsman-router")
        self.line: tuple[Step, ...] = (
            ResolveModel(self.routers, self.upstreams),
            ScorePrompt(self.routers, threads, timeout_s=config.server.routing_timeout_s),
            *steps_before_choice(config, self.pair, self.policies, prices, self.upstreams),
            ChooseModel(self.pair),
            *((StrongOnDrift(self.memory.drift),) if self.memory.drift is not None else ()),
            CountDecision(self.policies, self.policies.sessions(config.sessions)),
        )

    async def start(self) -> None:
        """Prepares the upstreams; those that were ready are closed again where one fails."""
        async with AsyncExitStack() as started:
            for upstream in self.upstreams.values():
                await upstream.start()
                started.push_async_callback(upstream.close)
            started.pop_all()
        if self.memory.ledger is not None:
            self.memory.ledger.show(ZoneInfo(self.config.policy.timezone))
        if self.memory.drift is not None:
            self.memory.drift.show(self.routers)
        if self.memory.shadow is not None:
            self.memory.shadow.show(
                self.config.shadow, self.upstreams, self.billing, lambda: self.policies.spent_wall(None) is not None
            )

    async def close(self) -> None:
        """Closes what `start` opened."""
        for upstream in self.upstreams.values():
            await upstream.close()

    async def decide(self, exchange: Exchange) -> Decision:
        """Takes an exchange down the line.

        Raises:
            RequestError: its model field is wrong.
        """
        for step in self.line:
            await step(exchange)
        if exchange.decision is None:
            raise RuntimeError("the line ended without a decision: its last step must make one")
        return exchange.decision

    async def serve(self, record: Record, exchange: Exchange) -> Answered:
        """Decides and answers, and notes in the record what came of it so far.

        Raises:
            RequestError: the request is wrong.
            UpstreamFailure: there was no answer.
        """
        before = perf_counter()
        record.decision = await self.decide(exchange)
        record.decided_at = perf_counter()
        record.routing_s = record.decided_at - before
        answered = await self.answer(exchange, record.decision)
        record.answered_at = perf_counter()
        record.model, record.trail, record.status = answered.model, answered.trail, answered.reply.status
        return answered

    async def answer(self, exchange: Exchange, decision: Decision) -> Answered:
        """Asks the chosen model, and the other one if it fails. A stream's first event has arrived by then.

        Raises:
            RequestError: the model is not served on this surface.
            UpstreamFailure: there was no answer.
        """
        request = exchange.request
        call = Call(exchange.surface.path, request.body, request.document, request.stream, decision, exchange.headers)
        return await self._attempts.ask(call, self._candidates(decision), exchange.surface.stream, exchange.tries)

    def _candidates(self, decision: Decision) -> list[str]:
        """The chosen model and who may answer in its place: nobody for a model that the request names itself."""
        other = {self.pair.weak: self.pair.strong}
        if self.config.fallback == "both":
            other[self.pair.strong] = self.pair.weak
        if decision.router is None or self.config.fallback == "none" or decision.model not in other:
            return [decision.model]
        return [model for model in (decision.model, other[decision.model]) if model in decision.candidates]

    def _price(self, model: str) -> Price | None:
        tariff = self.tariffs.get(model)
        return tariff.price if tariff is not None else None


def _service(config: Config, name: str, upstream: Upstream, previous: Engine | None) -> Service:
    model = config.models.get(name, ModelConfig())
    if previous is not None and name in previous.services and previous.config.models.get(name, ModelConfig()) == model:
        return Service(upstream, model.retry, previous.services[name].breaker)
    return Service(upstream, model.retry, Breaker(failures=model.breaker.failures, open_s=model.breaker.open_s))
