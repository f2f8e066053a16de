"""GET /health, /ready and /metrics."""

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.asgi import send_body
from pointsman.serve.observers.prometheus import CONTENT_TYPE, Metrics
from pointsman.serve.request.together import Together
from pointsman.serve.server.endpoints.headers import JSON

__all__ = ["Health", "MetricsText", "Ready"]


class Health:
    """GET /health: the process answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_body(send, 200, b'{"status":"ok"}', (JSON,))


class Ready:
    """GET /ready: whether a routed request could be answered now; 503 while the circuit of every candidate is open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        candidates = self._engine.candidates
        closed = [name for name in candidates if not self._engine.services[name].breaker.is_open]
        states = {name: "up" if name in closed else "circuit open" for name in candidates}
        status = "ready" if closed else "not ready"
        body = orjson.dumps({"status": status, "models": states, "config": self._engine.digest})
        await send_body(send, 200 if closed else 503, body, (JSON,))


class MetricsText:
    """GET /metrics, for Prometheus."""

    def __init__(self, metrics: Metrics, together: Together) -> None:
        self._metrics = metrics
        self._together = together

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._together.flush()
        await send_body(send, 200, self._metrics.text(), ((b"content-type", CONTENT_TYPE),))
