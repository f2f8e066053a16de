"""ASGI helpers: read bodies, send responses and streams, detect disconnected clients."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from pointsman.serve.http.body_room import HeldBody, held_body
from pointsman.serve.http.content_encoding import check_encoding, inflate
from pointsman.serve.http.errors import RequestError
from pointsman.serve.http.streams import ByteStream, Headers

__all__ = ["UNBUFFERED", "ClientGone", "WhileConnected", "read_body", "send_body", "send_stream"]

UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_UNWATCHED_S = 0.02
_UNCOUNTED_BYTES = 64 * 1024  # of a body that comes at once: as much may wait in the connection's own buffer
_PIECE_BYTES = 256 * 1024  # of an answer, a fraction of a millisecond
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
    """The whole body of a request, as it was before it was compressed. All but short ones count as held (`body_room`).

    Raises:
        RequestError: 413, it is longer than the limit, 503, there is no room for it, 408, it takes longer to arrive,
            415, it is compressed in a way that is not read here, or 400, it is damaged.
        ClientGone: the client hung up.
    """
    encoding, held = check_encoding(scope["headers"]), held_body(scope)
    body = await _read_in_time(receive, limits, held)
    if encoding is None:
        return body
    body = await asyncio.to_thread(inflate, body, encoding, limits.max_body_bytes)
    held.release()
    held.add(len(body))
    return body


async def _read_in_time(receive: Receive, limits: BodyLimits, held: HeldBody) -> bytes:
    if _has_come(receive):  # as mostly: a timer would cost more than the reading
        return await _read_body(receive, limits.max_body_bytes, held)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await _read_body(receive, limits.max_body_bytes, held)
    except TimeoutError:
        message = f"the body did not arrive within {limits.body_timeout_s:g} s"
        raise RequestError(message, status=408, code="request_timeout") from None


def _has_come(receive: Receive) -> bool:
    """Whether uvicorn holds a whole body already, so that nothing can be waited for."""
    return not getattr(getattr(receive, "__self__", None), "more_body", True)


async def _read_body(receive: Receive, max_bytes: int, held: HeldBody) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= min(max_bytes, _UNCOUNTED_BYTES):
        return body
    pieces, size, problem = BytesIO(), 0, None  # unlike others it gives the whole without a copy
    while True:
        body = message.get("body", b"")
        size += len(body)
        if problem is None and (problem := _problem(size, len(body), max_bytes, held)) is None:
            pieces.write(body)
        elif problem is not None:
            pieces = BytesIO()
            held.release()
        if not message.get("more_body", False) or size > max_bytes + _DISCARD_BYTES:
            break
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
    if problem is not None:
        raise problem
    return pieces.getvalue()


def _problem(size: int, n_bytes: int, max_bytes: int, held: HeldBody) -> RequestError | None:
    """Why no more of a body is kept: what still comes of it is read, so that the client reads the answer."""
    if size > max_bytes:
        return RequestError(f"the body has more than {max_bytes} bytes, which is the limit here", status=413)
    try:
        held.add(n_bytes)
    except RequestError as error:
        return error
    return None


async def send_body(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Sends one whole answer."""
    length = (b"content-length", str(len(body)).encode("ascii"))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await _send_pieces(send, body)
    await send({"type": "http.response.body", "body": body if len(body) <= _PIECE_BYTES else b""})


async def send_stream(send: Send, status: int, chunks: ByteStream, headers: Headers) -> None:
    """Sends a stream, each piece as it comes, and asks the proxies in between to do the same."""
    await send({"type": "http.response.start", "status": status, "headers": [*UNBUFFERED, *headers]})
    async for chunk in chunks:
        if len(chunk) <= _PIECE_BYTES:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        else:
            await _send_pieces(send, chunk)
    await send({"type": "http.response.body", "body": b""})


async def _send_pieces(send: Send, body: bytes) -> None:
    """Sends a long part of an answer as fast as the client reads it: what is written at once is copied at once."""
    if len(body) <= _PIECE_BYTES:
        return
    for begin in range(0, len(body), _PIECE_BYTES):
        await send({"type": "http.response.body", "body": body[begin : begin + _PIECE_BYTES], "more_body": True})
        await asyncio.sleep(0)


class WhileConnected:
    """Cancels its block when the client disconnects; the block then raises `ClientGone`.

    Our own server tells at once. Of others it has to be asked in a task of its own, which begins after a moment: a
    block that is quick is not worth it.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        cycle = getattr(receive, "__self__", None)
        self._cycle: Any = cycle if hasattr(cycle, "when_gone") else None
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None
        self._beginning: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        if self._cycle is None:
            self._beginning = asyncio.get_running_loop().call_later(_UNWATCHED_S, self._begin)
        elif self._cycle.disconnected:
            self._leave()
        else:
            self._cycle.when_gone = self._leave
            self._cycle.flow.resume_reading()  # stopped by a long body: who does not read does not see the end

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if self._cycle is not None:
            self._cycle.when_gone = None
        if self._beginning is not None:
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
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()
