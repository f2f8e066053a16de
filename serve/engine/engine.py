"""The engine of the server and of the Python API: decides which model answers a request, and gets the answer."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pointsman.core.choice_calibration import BEST
from pointsman.core.decision import Decision
from pointsman.core.pair import ModelPair
from pointsman.core.roles import Roles
from pointsman.serve.config import Config
from pointsman.serve.config.digest import config_digest
from pointsman.serve.config.secret import Secret
from pointsman.serve.engine.expected_bills import ExpectedBills
from pointsman.serve.engine.fallback import who_answers
from pointsman.serve.engine.optional_parts import check_comparisons, make_cascade, make_rules, make_scorer
from pointsman.serve.engine.pipeline import build_pipeline
from pointsman.serve.engine.state import ServerState
from pointsman.serve.engine.steps.resolve_model import ResolveModel
from pointsman.serve.engine.steps.score_prompt import RouterThreads
from pointsman.serve.money.billing import Billing
from pointsman.serve.money.price_list import read_price_list
from pointsman.serve.policy.rules import Policies
from pointsman.serve.policy.served_router import serve_router
from pointsman.serve.protocols.large_json import LARGE_BYTES
from pointsman.serve.protocols.thoughts import may_hold_thoughts, thought_marks
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.record import Record
from pointsman.serve.upstreams.attempts import Answered, Failover, Service
from pointsman.serve.upstreams.base import Call, Upstream
from pointsman.serve.upstreams.breaker import Breaker
from pointsman.serve.upstreams.build import build_upstreams
from pointsman.serve.upstreams.retry import is_held_elsewhere
from pointsman.serve.upstreams.stand_in import STRONG_STAND_IN, WEAK_STAND_IN

if TYPE_CHECKING:
    from pointsman.serve.autopilot.serving import Serving

__all__ = ["Engine"]


class Engine:
    """Decides and answers. Runs in one event loop, between `start` and `close`.

    Attributes:
        routers: by name, the default first.
        upstreams: by model name, the candidates first.
        services: the same with their retries and circuit breakers.
        candidates: the models to route among, the reference first.
        pair: the strong and the weak model; of more candidates the reference and the cheapest.
        resolve: interprets model fields.
        pipeline: the steps to a decision, in order.
        threads: for routers that would block the event loop.
        failover: calls the models.
        policies: the rules that set the threshold.
        rules: checked before a prompt is scored; None if none are configured.
        price_list: prices by model, where known, and their sources.
        billing: prices requests by them.
        digest: of the configuration and the checkpoints it was made from.
        in_step: keeps requests that are served at the same time in step.
        state: survives reloads of the configuration; whoever made the first engine starts and closes it.
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
            previous: the engine to replace; its state and the circuit breakers of unchanged models are kept.

        Raises:
            ConfigError: a model cannot be resolved; all such problems at once.
            CheckpointError, EmbedderMismatchError: a router's checkpoint is damaged or does not fit.
        """
        self.config = config
        self.digest = config_digest(config)
        self.state: ServerState = previous.state if previous is not None else ServerState(config)
        self.candidates = config.routed or (STRONG_STAND_IN, WEAK_STAND_IN)
        self.upstreams = build_upstreams(config, self.candidates, base_url=base_url, api_key=api_key)
        routers, candidates = config.routers.items(), config.candidates
        self.routers = {name: serve_router(name, router, candidates=candidates) for name, router in routers}
        tracing = self.state.tracing
        traced = {name: tracing.upstream(name, up) if tracing else up for name, up in self.upstreams.items()}
        self.services = {name: _service(config, name, upstream, previous) for name, upstream in traced.items()}
        self.failover = Failover(self.services)
        self.price_list = read_price_list(config)
        known = {name: entry.price for name, entry in self.price_list.items()}
        self.bills = bills = ExpectedBills(self.candidates, self.routers, known, self.state.answer_tokens)
        self.pair = ModelPair(self.candidates[0], bills.cheapest)
        self.roles = Roles(self.candidates, self.pair)
        lengths = bills.output_tokens if self.roles.many else None
        self.billing = Billing(known, self.pair, self.candidates, lengths)
        prices = (known.get(self.pair.strong), known.get(self.pair.weak))
        check_comparisons(config, self.billing)
        if config.autopilot is not None:
            self._steered()  # which refuses what cannot be certified
        self._scorer = make_scorer(config)
        self.policies = Policies(
            config.policy,
            self.routers,
            self.state.policies,
            digest=self.digest,
            prices=prices,
            typical_usd=self._typical_usd(),
            unpriced=[name for name in self.candidates if name not in known],
            unbound=BEST if self.roles.many else 0.0,
            spending=self.state.ledger,
            leasing=self.state.leases,
        )
        self.threads = RouterThreads()
        self.in_step = self.state.in_step
        self.rules = make_rules(config, self.routers, self.candidates)
        self.resolve = ResolveModel(self.routers, self.upstreams, config.aliases)
        self._cascade = make_cascade(config, self.pair, self.routers, self.billing.prices, self.failover, self.state)
        self.pipeline = build_pipeline(
            config,
            candidates=self.candidates,
            pair=self.pair,
            resolve=self.resolve,
            routers=self.routers,
            services=self.services,
            upstreams=self.upstreams,
            policies=self.policies,
            prices=prices,
            price_list=self.billing.prices,
            bills=bills,
            drift=self.state.drift,
            autopilot=self.state.autopilot if config.autopilot is not None else None,
            threads=self.threads,
            in_step=self.in_step,
            makers=self.state.makers,
            rules=self.rules,
            cascade=self._cascade,
            shared_sessions=self.state.sessions,
        )

    async def start(self) -> None:
        """Prepares the upstreams; if one fails, closes those already prepared."""
        async with AsyncExitStack() as started:
            for upstream in self.upstreams.values():
                await upstream.start()
                started.push_async_callback(upstream.close)
            started.pop_all()
        self._reconfigure()
        if self.state.shadow is not None:
            self.state.shadow.reconfigure(self.config.shadow, self.upstreams, self.billing, self._is_exhausted)
        if self.state.autopilot is not None and self.state.comparer is not None:
            now, drift, autopilot = self._steered(), self.state.drift, self.config.autopilot
            comparisons = autopilot.comparisons() if autopilot is not None else None
            usd = autopilot.scorer.usd if autopilot is not None and autopilot.scorer is not None else 0.0
            scorer = self._scorer.score_text if self._scorer is not None else None
            self.state.comparer.reconfigure(
                comparisons, self.upstreams, self.billing, self._is_exhausted, scorer=scorer, scorer_usd=usd
            )
            alarm = partial(drift.alarm, now.router) if drift is not None else None
            reset_alarm = partial(drift.reset, now.router) if drift is not None and drift.by_traffic else None
            look = self._cascade.second_look.score_attempt if self._cascade is not None else None
            await self.state.autopilot.reconfigure(autopilot, now, alarm, reset_alarm, look)

    def _is_exhausted(self) -> bool:
        """Whether a hard limit shared by all keys is exhausted."""
        return self.policies.exhausted_limit(None) is not None

    async def decide_alone(self, context: RequestContext) -> Decision:
        """`decide` outside a server, with what is in the configured store; writes nothing."""
        self._reconfigure()
        try:
            await self.state.load()
            return await self.decide(context)
        finally:
            self.threads.close()
            if self.state.store is not None:
                await self.state.store.close()

    def _reconfigure(self) -> None:
        """Reconfigures the parts that outlive engines for this one."""
        self.state.ledger.reconfigure(ZoneInfo(self.config.policy.timezone))
        if self.state.drift is not None:
            self.state.drift.reconfigure(self.routers)

    async def close(self) -> None:
        """Releases its threads and connections."""
        self.threads.close()
        if self._cascade is not None:
            await self._cascade.close()
        if self._scorer is not None:
            await self._scorer.close()
        for upstream in self.upstreams.values():
            await upstream.close()

    async def decide(self, context: RequestContext) -> Decision:
        """Runs the routing pipeline.

        Raises:
            RequestError: the request's model field is wrong, or no model may answer it.
        """
        is_large = len(context.request.body) > LARGE_BYTES
        for step in self.pipeline:
            if (waiting := step(context)) is not None:
                await waiting
            if is_large:
                await asyncio.sleep(0)  # a step may take milliseconds
        if context.decision is None:
            raise RuntimeError("the routing pipeline ended without a decision: ChooseModel must make one")
        return context.decision

    async def serve(self, record: Record, context: RequestContext) -> Answered:
        """Decides and answers, and records what is known so far.

        Raises:
            RequestError: the request is wrong.
            UpstreamFailure: there was no answer.
        """
        before = perf_counter()
        decision = await self.decide(context)
        record.routing_s = perf_counter() - before
        await self.in_step.next_stage()
        record.decided_at = perf_counter()
        answered = await self.answer(context, decision)
        record.answered_at = perf_counter()
        record.model, record.status = answered.model, answered.reply.status
        return answered

    async def answer(self, context: RequestContext, decision: Decision) -> Answered:
        """Calls the chosen model, then its fallbacks if it fails. Returns a stream once its first event has arrived.

        Raises:
            RequestError: the model is not served on this API.
            UpstreamFailure: there was no answer.
        """
        call, run = self._call(context, decision), context.cascade
        new_stream = context.surface.stream
        models = who_answers(decision, self.pair, self.config.fallback, is_bound=context.is_bound)
        if self._cascade is not None and run is not None and run.runs and decision.model == run.models[0]:
            return await self._cascade.answer(context, run, call, models)
        answered = await self.failover.ask(call, models, new_stream, context.attempts)
        others = [model for model in decision.candidates if model not in models]
        if context.is_bound and others and is_held_elsewhere(answered.reply):
            answered = await self.failover.ask(call, others, new_stream, context.attempts)
        return answered

    def _typical_usd(self) -> tuple[float, float] | None:
        """Expected bill of a typical prompt at the reference and at the cheapest candidate; None if one is unknown."""
        usd = dict(zip(self.candidates, next(iter(self.bills.typical.values())), strict=True))
        strong, weak = usd[self.pair.strong], usd[self.pair.weak]
        return None if strong is None or weak is None else (strong, weak)

    def _steered(self) -> "Serving":
        from pointsman.serve.engine.steered import steered

        return steered(self.config, self.routers, self.pair, self.billing.prices, self.bills.typical)

    def _call(self, context: RequestContext, decision: Decision) -> Call:
        request = context.request
        caller = context.key.id if context.key is not None else context.address
        call = Call(
            context.surface.path, request.body, request.document, request.stream, decision, context.headers, caller
        )
        looks = len(request.body) > LARGE_BYTES or may_hold_thoughts(request.body)
        marks = thought_marks(request.document) if looks else ()
        return replace(call, thoughts=marks, makers=self.state.makers.makers_of(marks, context)) if marks else call


def _service(config: Config, name: str, upstream: Upstream, previous: Engine | None) -> Service:
    model = config.settings_of(name)
    if previous is not None and name in previous.services and previous.config.settings_of(name) == model:
        return Service(upstream, model.retry, previous.services[name].breaker)
    return Service(upstream, model.retry, Breaker(failures=model.breaker.failures, open_s=model.breaker.open_s))
