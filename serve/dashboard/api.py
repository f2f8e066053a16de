"""The API of the dashboard page, as plain ASGI."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from pointsman.core.errors import StoreError
from pointsman.serve.auth.require_key import require_admin
from pointsman.serve.dashboard.page import SECURITY
from pointsman.serve.http.asgi import ClientGone, WhileConnected, send_body, send_stream
from pointsman.serve.http.errors import RequestError, error_body
from pointsman.serve.observers.live import STREAM_S, LiveHub

__all__ = ["Answers", "Events"]

_JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"), *SECURITY)
_EVENTS = ((b"content-type", b"text/event-stream"), *SECURITY)
_STALLED_S = 5.0  # for a page that does not read
Query: TypeAlias = dict[str, str]


class Answers:
    """GET of something that is JSON."""

    def __init__(self, read: Callable[[Scope, Query], Awaitable[bytes]], *, admin: bool = False) -> None:
        """Answers with what `read` gives for the request's scope and query.

        Args:
            admin: only to admin keys, where keys are asked for.
        """
        self._read = read
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._admin:
                require_admin(scope)
            body = await self._read(scope, _query(scope))
        except RequestError as error:
            await send_body(send, error.status, error.body(), _JSON)
        except StoreError as error:
            await send_body(send, 503, error_body(str(error), "server_error", code="store_unavailable"), _JSON)
        else:
            await send_body(send, 200, body, _JSON)


class Events:
    """GET of what happens now, as server-sent events; only for admin keys, where keys are asked for."""

    def __init__(self, hub: LiveHub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            require_admin(scope)
            query = _query(scope)
            known = query.get("hub") == self._hub.id and query.get("after", "").isdecimal()
            events = await self._hub.watch(after=int(query["after"]) if known else 0)
        except RequestError as error:
            await send_body(send, error.status, error.body(), _JSON)
            return
        try:
            async with asyncio.timeout(STREAM_S + _STALLED_S), WhileConnected(receive):
                await send_stream(send, 200, events, _EVENTS)
        except (ClientGone, TimeoutError):
            return
        finally:
            await events.aclose()


def _query(scope: Scope) -> Query:
    """The query's parameters, the last of each name."""
    found = parse_qs(scope["query_string"].decode("latin-1"))
    return {name: values[-1] for name, values in found.items()}
