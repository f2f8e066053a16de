"""What each path answers, as plain ASGI."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.core.decision import Decision
from pointsman.serve.auth.require_key import check_model, request_key
from pointsman.serve.config import ServerConfig
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.asgi import ClientGone, WhileConnected, read_body, send_body, send_stream
from pointsman.serve.http.errors import RequestError, UpstreamFailure, error_body
from pointsman.serve.observers.prometheus import CONTENT_TYPE, Metrics
from pointsman.serve.protocols.model_field import AUTO, ROUTER_PREFIX
from pointsman.serve.protocols.requests import read_question
from pointsman.serve.protocols.surfaces import Surface
from pointsman.serve.request.context import Exchange
from pointsman.serve.request.conversations import session_header
from pointsman.serve.request.record import Observer, Record, request_id
from pointsman.serve.upstreams.attempts import Answered
from pointsman.serve.upstreams.base import Headers

__all__ = ["JSON", "Completions", "Health", "MetricsText", "Models", "Ready", "RouteOnly", "decision_headers"]

JSON = (b"content-type", b"application/json")
_LOG = logging.getLogger(__name__)
_PASSED_ON = (
    *(b"traceparent", b"tracestate", b"idempotency-key"),
    *(b"openai-beta", b"anthropic-beta", b"anthropic-version"),
)
_MAX_HEADER = 300
_CRASHED = "Pointsman failed to answer this; its log says why"
_CLOSING = (408, 413)  # what is left of the body is not waited for


class Completions:
    """POST to one of the surfaces: decides, asks, answers."""

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
        self._observers: tuple[Observer, ...] = (metrics, *observers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = Record(request_id(scope), scope["path"])
        self._metrics.begin()
        try:
            await self._serve(record, scope, receive, send)
        except RequestError as error:
            record.outcome, record.status = "refused", error.status
            await _refuse(send, error, _record_headers(record))
        except UpstreamFailure as failure:
            _LOG.warning("request %s: %s", record.id, failure)
            record.outcome, record.status, record.trail = "failed", failure.status, failure.trail
            await _fail(send, failure, _record_headers(record))
        except ClientGone:
            record.outcome = "gone"
        except Exception:
            _LOG.exception("request %s crashed", record.id)
            if record.answered_at is not None:
                raise  # something of an answer may have been sent: the server ends the connection
            record.status = HTTPStatus.INTERNAL_SERVER_ERROR
            body = error_body(_CRASHED, "server_error", code="internal_error")
            await send_body(send, record.status, body, (JSON, *_record_headers(record)))
        finally:
            record.ended_at = perf_counter()
            self._engine.billing.settle(record)
            for observe in self._observers:
                observe(record)

    async def _serve(self, record: Record, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, self._limits)
        record.received_at = perf_counter()
        exchange = Exchange(self._surface.read(body), _passed_on(scope), self._surface, request_key(scope))
        exchange.session_header = session_header(scope)
        record.exchange = exchange
        record.stream = exchange.request.stream
        check_model(scope, exchange.request.model)
        async with WhileConnected(receive):
            answered = await self._engine.serve(record, exchange)
            await _send_answered(send, answered, _record_headers(record))
        record.outcome = answered.outcome


class RouteOnly:
    """POST /v1/route: the decision on a chat request, or on {"prompt": ...}, without asking any model.

    With "explain": true what it rests on comes with it.
    """

    def __init__(self, engine: Engine, *, limits: ServerConfig) -> None:
        from pointsman.serve.engine.explain import Explainer

        self._engine = engine
        self._limits = limits
        self._explainer = Explainer(engine.routers, engine.pair, engine.tariffs, drift=engine.memory.drift)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive, self._limits)
            question = read_question(body)
            check_model(scope, question.model)
            explain = self._explainer.wanted_by(question.document)
            exchange = Exchange(question, key=request_key(scope), dry=True)
            decision = await self._engine.decide(exchange)
            answer = decision.to_dict()
            if explain:
                answer["explanation"] = self._explainer.explain(
                    decision, prompt=question.prompt, embedding=exchange.embedding
                )
        except RequestError as error:
            await _refuse(send, error)
        except ClientGone:
            _LOG.debug("a client hung up before its decision")
        else:
            await send_body(send, 200, orjson.dumps(answer), (JSON, *decision_headers(decision)))


class Models:
    """GET /v1/models and /v1/models/<id>, in the words of OpenAI's API and of Anthropic's at once.

    A key is shown what it may ask for.
    """

    def __init__(self, engine: Engine) -> None:
        created = int(time.time())
        created_at = datetime.fromtimestamp(created, UTC).isoformat()
        owners = {AUTO: "pointsman", **{ROUTER_PREFIX + name: "pointsman" for name in engine.routers}}
        owners |= {field: "pointsman" for router in engine.routers.values() for field in router.stored_fields()}
        owners |= {name: upstream.provider for name, upstream in engine.upstreams.items()}
        self._cards: dict[str, dict[str, Any]] = {
            name: {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": owner,
                "type": "model",
                "display_name": name,
                "created_at": created_at,
            }
            for name, owner in owners.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, key = scope["path_params"].get("name"), request_key(scope)
        cards = {id: card for id, card in self._cards.items() if key is None or key.allows(id)}
        if name is None:
            first, last = next(iter(cards), None), next(reversed(cards), None)
            pages = {"has_more": False, "first_id": first, "last_id": last}
            answer = {"object": "list", "data": list(cards.values()), **pages}
            await send_body(send, 200, orjson.dumps(answer), (JSON,))
        elif name in cards:
            await send_body(send, 200, orjson.dumps(cards[name]), (JSON,))
        else:
            message = f"there is no model {name!r} here; there are {', '.join(cards) or 'none for this key'}"
            await _refuse(send, RequestError(message, status=404, param="model", code="model_not_found"))


class Health:
    """GET /health: the process answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_body(send, 200, b'{"status":"ok"}', (JSON,))


class Ready:
    """GET /ready: a routed request could be answered now; 503 while every model of the pair is left alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pair = (self._engine.pair.strong, self._engine.pair.weak)
        closed = [name for name in pair if not self._engine.services[name].breaker.is_open]
        states = {name: "up" if name in closed else "left alone after failures" for name in pair}
        status = "ready" if closed else "not ready"
        body = orjson.dumps({"status": status, "models": states, "config": self._engine.digest})
        await send_body(send, 200 if closed else 503, body, (JSON,))


class MetricsText:
    """GET /metrics, for Prometheus."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_body(send, 200, self._metrics.text(), ((b"content-type", CONTENT_TYPE),))


def decision_headers(decision: Decision, *, model: str | None = None) -> Headers:
    """The x-pointsman-* headers that tell a client what was decided and why.

    Args:
        model: who answered, where that is known.
    """
    headers = [
        (b"x-pointsman-model", _header(model or decision.model)),
        (b"x-pointsman-reason", _header(decision.reason)),
    ]
    if decision.router is not None:
        headers.append((b"x-pointsman-router", _header(decision.router)))
    if decision.win_rate is not None:
        headers.append((b"x-pointsman-win-rate", b"%.6f" % decision.win_rate))
    if decision.threshold is not None:
        headers.append((b"x-pointsman-threshold", b"%.6f" % decision.threshold))
    if decision.policy is not None:
        headers.append((b"x-pointsman-policy", _header(decision.policy)))
    return tuple(headers)


def _record_headers(record: Record) -> Headers:
    headers: Headers = ((b"x-pointsman-request-id", record.id.encode("ascii")),)
    if record.decision is not None:
        headers = (*headers, *decision_headers(record.decision, model=record.model))
    if len(record.trail) > 1:
        headers = (*headers, (b"x-pointsman-chain", _header(", ".join(record.trail))))
    return headers


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


async def _refuse(send: Send, error: RequestError, headers: Headers = ()) -> None:
    closing: Headers = ((b"connection", b"close"),) if error.status in _CLOSING else ()
    await send_body(send, error.status, error.body(), (JSON, *closing, *headers))


async def _fail(send: Send, failure: UpstreamFailure, headers: Headers) -> None:
    wait_s = failure.retry_after_s
    waiting: Headers = () if wait_s is None else ((b"retry-after", b"%d" % math.ceil(wait_s)),)
    await send_body(send, failure.status, failure.body(), (JSON, *waiting, *headers))


def _passed_on(scope: Scope) -> Mapping[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in scope["headers"] if name in _PASSED_ON}


@lru_cache(maxsize=4096)
def _header(text: str) -> bytes:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("ascii", "backslashreplace")[:_MAX_HEADER]
