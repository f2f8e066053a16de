"""What each path answers, as plain ASGI."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.core.decision import Decision
from pointsman.serve.attempts import Answered
from pointsman.serve.chat import read_chat, read_question
from pointsman.serve.engine import Engine
from pointsman.serve.errors import RequestError, UpstreamFailure
from pointsman.serve.exchange import Exchange
from pointsman.serve.model_field import AUTO, ROUTER_PREFIX
from pointsman.serve.upstreams.upstream import Headers
from pointsman.serve.wire import ClientGone, WhileConnected, read_body, send_body, send_stream

__all__ = ["JSON", "ChatCompletions", "Health", "Models", "RouteOnly", "decision_headers"]

JSON = (b"content-type", b"application/json")
_LOG = logging.getLogger(__name__)
_PASSED_ON = (b"traceparent", b"tracestate", b"idempotency-key", b"openai-beta")
_MAX_HEADER = 300


class ChatCompletions:
    """POST /v1/chat/completions."""

    def __init__(self, engine: Engine, *, max_body_bytes: int) -> None:
        self._engine = engine
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision: Decision | None = None
        try:
            body = await read_body(scope, receive, max_bytes=self._max_body_bytes)
            exchange = Exchange(read_chat(body), _passed_on(scope))
            async with WhileConnected(receive):
                decision = await self._engine.decide(exchange)
                await _send_answered(send, decision, await self._engine.answer(exchange, decision))
        except RequestError as error:
            await _refuse(send, error)
        except UpstreamFailure as failure:
            _LOG.warning("%s", failure)
            headers = decision_headers(decision, trail=failure.trail) if decision is not None else ()
            await send_body(send, failure.status, failure.body(), (JSON, *headers))
        except ClientGone:
            _LOG.debug("a client hung up before its answer was complete")


class RouteOnly:
    """POST /v1/route: the decision on a chat request, or on {"prompt": ...}, without asking any model."""

    def __init__(self, engine: Engine, *, max_body_bytes: int) -> None:
        self._engine = engine
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, max_bytes=self._max_body_bytes)
            decision = await self._engine.decide(Exchange(read_question(body)))
        except RequestError as error:
            await _refuse(send, error)
        except ClientGone:
            _LOG.debug("a client hung up before its decision")
        else:
            await send_body(send, 200, orjson.dumps(decision.to_dict()), (JSON, *decision_headers(decision)))


class Models:
    """GET /v1/models and /v1/models/<id>."""

    def __init__(self, engine: Engine) -> None:
        created = int(time.time())
        owners = {AUTO: "pointsman", **{ROUTER_PREFIX + name: "pointsman" for name in engine.routers}}
        owners |= {name: upstream.provider for name, upstream in engine.upstreams.items()}
        self._cards: dict[str, dict[str, Any]] = {
            name: {"id": name, "object": "model", "created": created, "owned_by": owner}
            for name, owner in owners.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path_params"].get("name")
        if name is None:
            await send_body(send, 200, orjson.dumps({"object": "list", "data": list(self._cards.values())}), (JSON,))
        elif name in self._cards:
            await send_body(send, 200, orjson.dumps(self._cards[name]), (JSON,))
        else:
            message = f"model {name!r} is not configured here; there are {', '.join(self._cards)}"
            await _refuse(send, RequestError(message, status=404, param="model", code="model_not_found"))


class Health:
    """GET /health: the process answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_body(send, 200, b'{"status":"ok"}', (JSON,))


def decision_headers(decision: Decision, *, model: str | None = None, trail: Sequence[str] = ()) -> Headers:
    """The x-pointsman-* headers that tell a client what was decided and why.

    Args:
        model: who answered, where that is known.
        trail: every try that was made; told where there was more than one.
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
    if len(trail) > 1:
        headers.append((b"x-pointsman-chain", _header(", ".join(trail))))
    return tuple(headers)


async def _send_answered(send: Send, decision: Decision, answered: Answered) -> None:
    reply = answered.reply
    headers = (*reply.headers, *decision_headers(decision, model=answered.model, trail=answered.trail))
    if reply.chunks is None:
        await send_body(send, reply.status, reply.body, headers)
        return
    try:
        await send_stream(send, reply.status, reply.chunks, headers)
    finally:
        await reply.chunks.aclose()


async def _refuse(send: Send, error: RequestError) -> None:
    closing: Headers = ((b"connection", b"close"),) if error.status == 413 else ()
    await send_body(send, error.status, error.body(), (JSON, *closing))


def _passed_on(scope: Scope) -> Mapping[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in scope["headers"] if name in _PASSED_ON}


def _header(text: str) -> bytes:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("ascii", "backslashreplace")[:_MAX_HEADER]
