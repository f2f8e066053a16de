"""The endpoints of the drift monitor."""

import orjson
from starlette.types import Receive, Scope, Send

from pointsman.serve.auth.require_key import require_admin
from pointsman.serve.config import ServerConfig
from pointsman.serve.drift.monitor import DriftMonitor
from pointsman.serve.http.asgi import ClientGone, read_body, send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.requests import read_object

__all__ = ["DriftReset", "DriftStatus"]

_JSON = (b"content-type", b"application/json")


class DriftStatus:
    """GET /v1/drift: the watched routers, and whether their prompts have drifted."""

    def __init__(self, monitor: DriftMonitor | None) -> None:
        self._monitor = monitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._monitor is None:
            await _refuse(send, _nothing_watched())
        else:
            await send_body(send, 200, orjson.dumps(self._monitor.status()), (_JSON,))


class DriftReset:
    """POST /v1/drift/reset with {} or {"router": name}: resets the alarm. For admins."""

    def __init__(self, monitor: DriftMonitor | None, *, limits: ServerConfig) -> None:
        self._monitor = monitor
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            require_admin(scope)
            body = await read_body(scope, receive, self._limits)
            await send_body(send, 200, orjson.dumps(await self._reset(body)), (_JSON,))
        except RequestError as error:
            await _refuse(send, error)
        except ClientGone:
            return

    async def _reset(self, body: bytes) -> dict[str, list[str]]:
        if self._monitor is None:
            raise _nothing_watched()
        router = read_object(body).get("router") if body.strip() else None
        known = list(self._monitor.status()["routers"])
        if router is not None and router not in known:
            message = f"router is {router!r:.80}, wanted one of {', '.join(known)}, or none for all"
            raise RequestError(message, param="router")
        return {"reset": await self._monitor.reset(router)}


def _nothing_watched() -> RequestError:
    return RequestError("drift is not monitored: add `drift: {}` to the configuration", status=404, code="not_watched")


async def _refuse(send: Send, error: RequestError) -> None:
    await send_body(send, error.status, error.body(), (_JSON,))
