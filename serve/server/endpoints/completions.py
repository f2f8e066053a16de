"""POST to one of the APIs: decides, calls a model, responds; as plain ASGI."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from time import perf_counter

from starlette.types import Receive, Scope, Send

from pointsman.serve.auth.require_key import check_model, request_key
from pointsman.serve.config import ServerConfig
from pointsman.serve.engine.engine import Engine
from pointsman.serve.engine.lifecycle import Lifecycle
from pointsman.serve.http.asgi import ClientGone, WhileConnected, read_body, send_body, send_stream
from pointsman.serve.http.errors import RequestError, UpstreamFailure, error_body
from pointsman.serve.http.streams import Headers
from pointsman.serve.observers.prometheus import Metrics
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.surfaces import Surface
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import naming_headers
from pointsman.serve.request.ids import request_id
from pointsman.serve.request.record import Observer, Record
from pointsman.serve.server.endpoints.headers import JSON, record_headers, refuse
from pointsman.serve.server.endpoints.heartbeat import Heartbeat
from pointsman.serve.upstreams.attempts import Answered

__all__ = ["Completions"]

_LOG = logging.getLogger(__name__)
_PASSED_ON = (
    *(b"traceparent", b"tracestate", b"idempotency-key"),
    *(b"openai-beta", b"anthropic-beta", b"anthropic-version"),
)
_LISTS = (b"tracestate", b"openai-beta", b"anthropic-beta")
_CRASHED = "Pointsman failed to answer this; its log says why"


class Completions:
    """One API of the server."""

    def __init__(
        self,
        engine: Engine,
        surface: Surface,
        *,
        limits: ServerConfig,
        metrics: Metrics,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._surface = surface
        self._engine = engine
        self._limits = limits
        self._metrics = metrics
        self._observers = tuple(observers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = Record(request_id(scope), scope["path"])
        self._metrics.begin()
        beat = Heartbeat(send, self._surface.stream, lambda: record_headers(record), every_s=self._limits.ping_s)
        in_step = self._engine.in_step
        with in_step, Lifecycle(record, self._engine.billing, self._observers) as life, beat:
            await self._answer(life, scope, receive, beat)
            with suppress(asyncio.CancelledError):  # which comes too late for this request: it has had its answer
                await in_step.next_stage()

    async def _answer(self, life: Lifecycle, scope: Scope, receive: Receive, send: Heartbeat) -> None:
        record = life.record
        try:
            await self._serve(record, scope, receive, send)
        except RequestError as error:
            life.note(error)
            await refuse(send, error, record_headers(record))
        except UpstreamFailure as failure:
            _LOG.warning("request %s: %s", record.id, failure)
            life.note(failure)
            await _fail(send, failure, record_headers(record))
        except ClientGone as gone:
            life.note(gone)
        except Exception:
            _LOG.exception("request %s crashed", record.id)
            if record.answered_at is not None:
                raise  # something of an answer may have been sent: the server ends the connection
            record.status = HTTPStatus.INTERNAL_SERVER_ERROR
            body = error_body(_CRASHED, "server_error", code="internal_error")
            await send_body(send, record.status, body, (JSON, *record_headers(record)))

    async def _serve(self, record: Record, scope: Scope, receive: Receive, send: Heartbeat) -> None:
        body = await read_body(scope, receive, self._limits)
        await self._engine.in_step.next_stage()
        record.received_at = perf_counter()
        async with WhileConnected(receive):
            request = await off_loop(len(body), self._surface.read, body)
            context = RequestContext(request, _passed_on(scope), self._surface, request_key(scope))
            context.address = scope["client"][0] if scope.get("client") else ""
            context.client = naming_headers(scope["headers"])
            if self._engine.rules is not None:
                context.rule_headers = self._engine.rules.read_headers(scope["headers"])
            record.context = context
            check_model(scope, context.request.model, means=self._engine.resolve.means(context.request.model))
            if context.request.stream:
                send.begin()
            answered = await self._engine.serve(record, context)
            await _send_answered(send, answered, record_headers(record))
        record.outcome = answered.outcome


async def _send_answered(send: Send, answered: Answered, headers: Headers) -> None:
    reply = answered.reply
    headers = (*reply.headers, *headers)
    if reply.chunks is None:
        await send_body(send, reply.status, reply.body, headers)
        return
    try:
        await send_stream(send, reply.status, reply.chunks, headers)
    finally:
        await reply.chunks.aclose()


async def _fail(send: Send, failure: UpstreamFailure, headers: Headers) -> None:
    wait_s = failure.retry_after_s
    waiting: Headers = () if wait_s is None else ((b"retry-after", b"%d" % math.ceil(wait_s)),)
    await send_body(send, failure.status, failure.body(), (JSON, *waiting, *headers))


def _passed_on(scope: Scope) -> Mapping[str, str]:
    """The upstream's headers; lines with the same name are one list (RFC 9110, 5.3)."""
    passed: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _PASSED_ON:
            text, said = name.decode("ascii"), value.decode("latin-1")
            passed[text] = f"{passed[text]}, {said}" if text in passed and name in _LISTS else said
    return passed
