"""Spans of one process.

POST /v1/chat/completions      the request, a child of the client's traceparent
  pointsman.decide             the decision
  chat small                   each upstream attempt, with its own traceparent
"""

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.observers.tracing.provider import make_provider
from pointsman.serve.request.record import Record
from pointsman.serve.upstreams.base import Call, Reply, Upstream, Wrapper

__all__ = ["Tracing"]

_TRACED = "/v1/"
_OPERATIONS = {"/embeddings": "embeddings"}  # everything else is chat


@dataclass(slots=True)
class _Trace:
    """The spans of one request that have not ended."""

    request: Any
    attempts: list[Any] = field(default_factory=list)


_CURRENT: ContextVar[_Trace | None] = ContextVar("pointsman_trace", default=None)


class Tracing:
    """Starts and ends spans; a component, and an observer of records."""

    def __init__(self) -> None:
        """Exports nothing before the first request.

        Raises:
            MissingExtraError: OpenTelemetry is not installed.
            ConfigError: OTEL_TRACES_EXPORTER names no exporter that is installed.
        """
        self._provider, self._owned = make_provider()
        self._api: Any = import_module("opentelemetry.trace")
        self._propagate: Any = import_module("opentelemetry.propagate")
        self._tracer = self._provider.get_tracer("pointsman")

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Exports what has not been exported yet."""
        if self._owned:
            await asyncio.to_thread(self._provider.shutdown)

    def app(self, app: ASGIApp) -> ASGIApp:
        """`app` with a span around each of its requests below /v1/."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].startswith(_TRACED):
                await self._serve(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return traced

    def upstream(self, name: str, upstream: Upstream) -> Upstream:
        """`upstream` with a span around each of its calls.

        Args:
            name: of its model.
        """
        return _TracedUpstream(self, name, upstream)

    def __call__(self, record: Record) -> None:
        """A request has ended: its spans get the outcome."""
        trace = _CURRENT.get()
        if trace is None:
            return
        trace.request.set_attributes(_attributes(record))
        if record.routing_s is not None and record.decided_at is not None:
            self._span_of_decision(trace, record)
        if trace.attempts and record.usage is not None:
            trace.attempts[-1].set_attributes({
                "gen_ai.usage.input_tokens": record.usage.input_tokens,
                "gen_ai.usage.output_tokens": record.usage.output_tokens,
            })  # fmt: skip
        if record.outcome in ("failed", "broken", "crashed"):
            self._fail(trace.request, record.outcome)
            if trace.attempts and record.outcome == "broken":
                self._fail(trace.attempts[-1], record.outcome)

    async def _serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        name = f"{scope['method']} {scope['path']}"
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        span = self._tracer.start_span(
            name, self._propagate.extract(headers), kind=self._api.SpanKind.SERVER, attributes=attributes
        )

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    self._fail(span, str(message["status"]))
            await send(message)

        trace = _Trace(span)
        token = _CURRENT.set(trace)
        try:
            await app(scope, receive, watched)
        finally:
            _CURRENT.reset(token)
            for attempt in trace.attempts:
                attempt.end()
            span.end()

    def _span_of_decision(self, trace: _Trace, record: Record) -> None:
        assert record.decided_at is not None
        assert record.routing_s is not None
        ended_ns = time.time_ns() - int(1e9 * (time.perf_counter() - record.decided_at))
        started_ns = ended_ns - int(1e9 * record.routing_s)
        context = self._api.set_span_in_context(trace.request)
        self._tracer.start_span("pointsman.decide", context, start_time=started_ns).end(ended_ns)

    def begin_try(self, model: str, provider: str, call: Call) -> tuple[Any, Mapping[str, str]]:
        """The span of a call to an upstream, and the headers to send with it."""
        trace = _CURRENT.get()
        context = self._api.set_span_in_context(trace.request) if trace is not None else None
        operation = _OPERATIONS.get(call.path, "chat")
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        kind = self._api.SpanKind.CLIENT
        span = self._tracer.start_span(f"{operation} {model}", context, kind=kind, attributes=attributes)
        headers = {name: value for name, value in call.headers.items() if name not in ("traceparent", "tracestate")}
        self._propagate.inject(headers, self._api.set_span_in_context(span, context))
        return span, headers

    def end_try(self, span: Any, status: int, error: str | None) -> None:
        """A call got at least the head of its answer, or failed, which ends its span."""
        if status:
            span.set_attribute("http.response.status_code", status)
        trace = _CURRENT.get()
        if error is not None:
            self._fail(span, error)
        if error is not None or trace is None:
            span.end()
        else:
            trace.attempts.append(span)  # the answer may still be coming, and its usage with it

    def _fail(self, span: Any, kind: str) -> None:
        span.set_attribute("error.type", kind)
        span.set_status(self._api.StatusCode.ERROR)


class _TracedUpstream(Wrapper):
    """An upstream whose calls have spans."""

    def __init__(self, tracing: Tracing, name: str, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._tracing = tracing
        self._name = name

    async def send(self, call: Call) -> Reply:
        span, headers = self._tracing.begin_try(self._name, self.provider, call)
        status, error = 0, "cancelled"
        try:
            reply = await self._upstream.send(replace(call, headers=headers))
            status, error = reply.status, str(reply.status) if reply.status >= 400 else ""
        except UpstreamFailure as failure:
            error = failure.code
            raise
        finally:
            self._tracing.end_try(span, status, error or None)
        return reply


def _attributes(record: Record) -> dict[str, Any]:
    decision = record.decision
    found = {
        "pointsman.request_id": record.id,
        "pointsman.outcome": record.outcome,
        "pointsman.model": record.model,
        "pointsman.cost_usd": record.cost_usd,
        "pointsman.router": decision.router if decision else None,
        "pointsman.win_rate": decision.win_rate if decision else None,
        "pointsman.threshold": decision.threshold if decision else None,
        "pointsman.policy": decision.policy if decision else None,
        "pointsman.reason": decision.reason if decision else None,
    }
    return {name: value for name, value in found.items() if value is not None}
