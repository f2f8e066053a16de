"""Asks a model until there is an answer: again after a pause, and then the other model.

All of it happens before the first byte of an answer has reached the client. What is the client's fault is passed on.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from pointsman.serve.config import RetryConfig
from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.openai_streams import EventStream
from pointsman.serve.protocols.sse import PrimedStream, relay_events
from pointsman.serve.upstreams.base import Call, Reply, Upstream
from pointsman.serve.upstreams.breaker import Breaker
from pointsman.serve.upstreams.retry import is_operators, is_retried, is_upstreams_fault, retry_delay_s
from pointsman.serve.upstreams.tries import Try

__all__ = ["Answered", "Attempts", "Service"]

_LOG = logging.getLogger(__name__)
# Waited for long enough, left alone, or not going to be better.
_FINAL = frozenset({"upstream_timeout", "upstream_unavailable", "upstream_too_large", "upstream_refused"})
_TOO_MANY = 429
NewStream: TypeAlias = Callable[[], EventStream]


@dataclass(frozen=True, slots=True)
class Service:
    """One model's upstream with what is remembered of it.

    Attributes:
        upstream: where it is asked.
        retry: how often to ask again, and after how long.
        breaker: whether to ask at all.
    """

    upstream: Upstream
    retry: RetryConfig
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it.

    Attributes:
        reply: the answer; of the last model asked where none was good.
        model: who gave it.
        trail: every try in order, e.g. ("small 503", "small upstream_timeout", "big 200").
        stream: what becomes known of the answer's event stream; None for a whole answer.
    """

    reply: Reply
    model: str
    trail: tuple[str, ...]
    stream: EventStream | None = None

    @property
    def outcome(self) -> str:
        """What a record says of it once it has ended: "answered", "refused", "failed" or "broken"."""
        if self.stream is not None and self.stream.failed:
            return "broken"
        if self.reply.status < 400:
            return "answered"
        return "failed" if is_upstreams_fault(self.reply.status) else "refused"


class Attempts:
    """Asks models, one after the other."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services
        self._rng = random.Random()

    async def ask(
        self, call: Call, models: Sequence[str], new_stream: NewStream, tries: list[Try] | None = None
    ) -> Answered:
        """The first good answer of `models`; an answer that refuses the request for the client's fault is good.

        Args:
            new_stream: makes the watch over an event stream, should the answer be one.
            tries: filled in with what was asked and what came of it, even where this raises or is cancelled.

        Raises:
            UpstreamFailure: the last model gave no answer at all.
        """
        trail = _Trail([] if tries is None else tries)
        for model in models[:-1]:
            try:
                answered = await self._ask_model(call, model, trail, new_stream)
            except UpstreamFailure as failure:
                _LOG.warning("%s; asking %s", failure, models[-1])
            else:
                if not is_upstreams_fault(answered.reply.status):
                    return answered
        return await self._ask_model(call, models[-1], trail, new_stream)

    async def _ask_model(self, call: Call, model: str, trail: "_Trail", new_stream: NewStream) -> Answered:
        retry = self._services[model].retry
        for attempt in itertools.count():
            try:
                answered = await self._try(call, model, trail, new_stream)
            except UpstreamFailure as failure:
                failure.trail = tuple(trail.results)
                delay_s = None if failure.code in _FINAL else retry_delay_s(retry, attempt, None, self._rng)
                if delay_s is None:
                    raise
            else:
                reply = answered.reply
                delay_s = retry_delay_s(retry, attempt, reply, self._rng) if is_retried(reply.status) else None
                if delay_s is None:
                    return answered
            await asyncio.sleep(delay_s)
        raise AssertionError("unreachable: the loop has no end")

    async def _try(self, call: Call, model: str, trail: "_Trail", new_stream: NewStream) -> Answered:
        service = self._services[model]
        if not service.breaker.allow():
            trail.results.append(f"{model} skipped")
            raise UpstreamFailure(
                f"model {model!r} failed too often in a row; "
                f"it is asked again in {service.breaker.retry_after_s():.0f} s",
                status=503,
                code="upstream_unavailable",
                retry_after_s=service.breaker.retry_after_s(),
            )
        tried = Try(model)
        trail.tries.append(tried)
        try:
            reply, stream = await _send(service, call, tried, new_stream)
        except UpstreamFailure as failure:
            trail.results.append(f"{model} {failure.code}")
            service.breaker.fail()
            raise
        except asyncio.CancelledError:
            tried.abandoned = True
            raise
        status = reply.status
        trail.results.append(f"{model} {status}")
        if status >= 500:
            service.breaker.fail()
        elif stream is not None:
            service.breaker.respond()
        elif status != _TOO_MANY:
            service.breaker.succeed()
        if is_operators(status):
            message = f"the service of model {model!r} refuses this server's own key, or its credit, with a {status}"
            raise UpstreamFailure(message, code="upstream_refused")
        return Answered(reply, model, tuple(trail.results), stream)


@dataclass(frozen=True, slots=True)
class _Trail:
    """What was tried, and what came of it, a word each."""

    tries: list[Try]
    results: list[str] = field(default_factory=list)


async def _send(service: Service, call: Call, tried: Try, new_stream: NewStream) -> tuple[Reply, EventStream | None]:
    reply = tried.reply = await service.upstream.send(call)
    if reply.chunks is None:
        return reply, None
    stream = tried.stream = new_stream()
    stream.hides_usage = reply.hides_usage
    on_end = partial(_learn, service.breaker, stream)
    events = await PrimedStream.open(relay_events(reply.chunks, stream, on_end=on_end))
    return replace(reply, chunks=events), stream


def _learn(breaker: Breaker, stream: EventStream) -> None:
    """What became of a stream that had begun; one that the client hung up on says nothing."""
    if stream.failure is not None:
        breaker.fail()
    elif (stream.finished or stream.done) and not stream.failed:
        breaker.succeed()
