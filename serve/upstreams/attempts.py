"""Calls an upstream with retries and backoff, then falls back to the next model.

All this happens before the first byte of an answer reaches the client. Client errors are passed through.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.serve.config import RetryConfig
from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.openai_streams import EventStream
from pointsman.serve.protocols.sse import PrimedStream, relay_events
from pointsman.serve.protocols.upstream_errors import ReportedFailure
from pointsman.serve.upstreams.base import Call, Reply, Upstream
from pointsman.serve.upstreams.breaker import Breaker
from pointsman.serve.upstreams.retry import is_operators, is_retried, is_upstreams_fault, retry_delay_s
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["Answered", "Failover", "Service"]

_LOG = logging.getLogger(__name__)
# Not retried: it took long enough, its circuit is open, or a retry would end the same way.
_FINAL = frozenset(
    {
        *("upstream_timeout", "upstream_unavailable", "upstream_too_large", "upstream_refused", "upstream_no_stream"),
    }
)
_TOO_MANY = 429
NewStream: TypeAlias = Callable[[], EventStream]


@dataclass(frozen=True, slots=True)
class Service:
    """One model's upstream with its circuit breaker and retry settings.

    Attributes:
        upstream: where to call it.
        retry: how often to retry, and after how long.
        breaker: whether to call it at all.
    """

    upstream: Upstream
    retry: RetryConfig
    breaker: Breaker


@quick_dataclass(frozen=True, slots=True)
class Answered:
    """The result of a call with its fallbacks.

    Attributes:
        reply: the answer; of the last model called if none was good.
        model: the model that gave it.
        stream: the state of the answer's event stream; None for a whole answer.
    """

    reply: Reply
    model: str
    stream: EventStream | None = None

    @property
    def outcome(self) -> str:
        """The outcome once it has ended: "answered", "refused", "failed" or "broken"."""
        if self.stream is not None and self.stream.failed:
            return "broken"
        if self.reply.status < 400:
            return "answered"
        return "failed" if is_upstreams_fault(self.reply.status) else "refused"


class Failover:
    """Calls models, one after the other, until one answers."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services
        self._rng = random.Random()

    async def ask(
        self, call: Call, models: Sequence[str], new_stream: NewStream, attempts: list[Attempt] | None = None
    ) -> Answered:
        """The first good answer of `models`; a rejection because of a client error counts as good.

        Args:
            new_stream: makes the state of an event stream, if the answer is one.
            attempts: gets every call with its result, even if this raises or is cancelled.

        Raises:
            UpstreamFailure: the last model gave no answer at all.
        """
        attempts = [] if attempts is None else attempts
        for model, following in itertools.pairwise(models):
            try:
                answered = await self._ask_model(call, model, attempts, new_stream)
            except UpstreamFailure as failure:
                _LOG.warning("%s; asking %s", failure, following)
            else:
                if not is_upstreams_fault(answered.reply.status):
                    return answered
        return await self._ask_model(call, models[-1], attempts, new_stream)

    async def _ask_model(self, call: Call, model: str, attempts: list[Attempt], new_stream: NewStream) -> Answered:
        """The answer of one model after its retries; reports the outcome to its circuit breaker."""
        service = self._services[model]
        asked = False
        for n_retries in itertools.count():
            attempt = Attempt(model)
            attempts.append(attempt)
            try:
                _check_circuit(service, attempt, call.caller)
                asked = True
                answered = await _try(service, call, attempt, new_stream)
            except UpstreamFailure as failure:
                delay_s = None if failure.code in _FINAL else retry_delay_s(service.retry, n_retries, None, self._rng)
                if delay_s is None:
                    if asked and failure.code != "upstream_refused":
                        service.breaker.fail(call.caller, call.fingerprint())
                    raise
            else:
                reply = answered.reply
                retried = is_retried(reply.status)
                delay_s = retry_delay_s(service.retry, n_retries, reply, self._rng) if retried else None
                if delay_s is None:
                    _count(service.breaker, call, answered)
                    return answered
            await asyncio.sleep(delay_s)
        raise AssertionError("unreachable: the loop does not end")


def _check_circuit(service: Service, attempt: Attempt, caller: str) -> None:
    if not service.breaker.allow(caller):
        attempt.result = "skipped"
        raise UpstreamFailure(
            f"the circuit of model {attempt.model!r} is open after too many failures in a row; "
            f"the next attempt is allowed in {service.breaker.retry_after_s():.0f} s",
            status=503,
            code="upstream_unavailable",
            retry_after_s=service.breaker.retry_after_s(),
        )


async def _try(service: Service, call: Call, attempt: Attempt, new_stream: NewStream) -> Answered:
    upstream, stream = service.upstream, None
    try:
        reply = attempt.reply = await upstream.send(call)
        headers = tuple([(name, upstream.redact(value)) for name, value in reply.headers])
        if reply.chunks is None:
            body = await off_loop(len(reply.body), upstream.redact, reply.body)
            document = reply.document if body is reply.body else None
            reply = Reply(reply.status, headers, body, document=document, source=reply.source)
        else:
            reply, stream = await _begin_stream(service, call, attempt, replace(reply, headers=headers), new_stream)
    except UpstreamFailure as failure:
        attempt.reply = failure.answer if attempt.reply is None else attempt.reply
        failure.said = upstream.redact(failure.said.encode("utf-8", "replace")).decode()
        attempt.result = failure.code
        raise
    except asyncio.CancelledError:
        attempt.abandoned = True
        raise
    attempt.result = str(reply.status)
    if is_operators(reply.status):
        model = attempt.model
        message = f"the upstream of model {model!r} rejected this server's own key or credit with a {reply.status}"
        raise UpstreamFailure(message, code="upstream_refused")
    return Answered(reply, attempt.model, stream)


def _count(breaker: Breaker, call: Call, answered: Answered) -> None:
    """Reports an answer to the circuit breaker; a stream is reported again when it ends."""
    status = answered.reply.status
    if status >= 500:
        breaker.fail(call.caller, call.fingerprint())
    elif answered.stream is not None:
        breaker.respond()
    elif status != _TOO_MANY:
        breaker.succeed(call.caller)


async def _begin_stream(
    service: Service, call: Call, attempt: Attempt, reply: Reply, new_stream: NewStream
) -> tuple[Reply, EventStream | None]:
    """The answer once its first event has arrived, and the state of its stream; None for an answer with an error."""
    upstream, chunks = service.upstream, reply.chunks
    assert chunks is not None
    stream = attempt.stream = new_stream()
    stream.hides_usage = reply.hides_usage
    stream.n_answers = n if isinstance(n := call.document.get("n"), int) else 1
    on_end = partial(_learn, service.breaker, call, stream)
    try:
        events = await PrimedStream.open(relay_events(chunks, stream, redact=upstream.redact, on_end=on_end))
    except ReportedFailure as failure:
        if failure.reported.status is None:
            raise
        body = upstream.redact(failure.reported.body())
        return Reply(failure.reported.status, ((b"content-type", b"application/json"),), body), None
    return replace(reply, chunks=events), stream


def _learn(breaker: Breaker, call: Call, stream: EventStream) -> None:
    """Reports the outcome of a started stream to the breaker; a disconnected client counts as neither."""
    if stream.failure is not None:
        breaker.fail(call.caller, call.fingerprint())
    elif (stream.finished or stream.done) and not stream.failed:
        breaker.succeed(call.caller)
