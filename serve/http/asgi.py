"""ASGI helpers: read bodies, send responses and streams, detect disconnected clients."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from starlette.types import Receive, Scope, Send

from pointsman.serve.http.content_encoding import check_encoding, inflate
from pointsman.serve.http.errors import RequestError
from pointsman.serve.http.streams import ByteStream, Headers

__all__ = ["UNBUFFERED", "ClientGone", "WhileConnected", "read_body", "send_body", "send_stream"]

UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_UNWATCHED_S = 0.02
_DISCARD_BYTES = 64 * 1024 * 1024  # of a body that is too large, so that the client reads the answer before the end


class ClientGone(Exception):  # noqa: N818  (no error: an event)
    """The client disconnected before its response was complete."""


class BodyLimits(Protocol):
    """How large a body may be, and how long it may take to arrive."""

    @property
    def max_body_bytes(self) -> int: ...

    @property
    def body_timeout_s(self) -> float: ...


async def read_body(scope: Scope, receive: Receive, limits: BodyLimits) -> bytes:
    """The whole body of a request, as it was before it was compressed.

    Raises:
        RequestError: 413, it is longer than the limit, 408, it takes longer to arrive, 415, it is compressed in a way
            that is not read here, or 400, it is damaged.
        ClientGone: the client hung up.
    """
    encoding = check_encoding(scope["headers"])
    body = await _read_in_time(receive, limits)
    return body if encoding is None else await asyncio.to_thread(inflate, body, encoding, limits.max_body_bytes)


async def _read_in_time(receive: Receive, limits: BodyLimits) -> bytes:
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await _read_body(receive, limits.max_body_bytes)
    except TimeoutError:
        message = f"the body did not arrive within {limits.body_timeout_s:g} s"
        raise RequestError(message, status=408, code="request_timeout") from None


async def _read_body(receive: Receive, max_bytes: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= max_bytes:
        return body
    pieces, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message.get("body", b""))
        if size <= max_bytes:
            pieces.append(message.get("body", b""))
        elif size > max_bytes + _DISCARD_BYTES:
            break
    if size > max_bytes:
        raise RequestError(f"the body has more than {max_bytes} bytes, which is the limit here", status=413)
    return b"".join(pieces)


async def send_body(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Sends one whole answer."""
    length = (b"content-length", str(len(body)).encode("ascii"))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_stream(send: Send, status: int, chunks: ByteStream, headers: Headers) -> None:
    """Sends a stream, each piece as it comes, and asks the proxies in between to do the same."""
    await send({"type": "http.response.start", "status": status, "headers": [*UNBUFFERED, *headers]})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class WhileConnected:
    """Cancels its block when the client disconnects; the block then raises `ClientGone`.

    Watching costs a task, so it begins after a moment: a block that is quick is not worth it.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._beginning = self._loop.call_later(_UNWATCHED_S, self._begin)

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self._beginning.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if not self._gone or self._task is None:
            return
        self._task.uncancel()
        if kind is None:
            with suppress(asyncio.CancelledError):  # the block ended before the cancellation reached it
                await asyncio.sleep(0)
        raise ClientGone from None

    def _begin(self) -> None:
        self._watcher = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()
