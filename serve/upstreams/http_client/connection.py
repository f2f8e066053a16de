"""One HTTP/1.1 connection to an upstream: one request at a time, its answer piece by piece.

Parsed by httptools (llhttp). A general client library would take several times as long as everything else in a request
here, for things that are not needed: redirects, cookies, forms, its own pools, decoding.
"""

import asyncio
import zlib
from typing import Any

import httptools

__all__ = ["BrokenAnswerError", "Connection"]

_MAX_HEAD_BYTES = 64 * 1024
_MAX_BUFFERED_BYTES = 256 * 1024  # above, the upstream has to wait for the client
_MAX_INFLATED_BYTES = 64 * 1024 * 1024  # of one piece
_SMALL_BYTES = 16 * 1024
_PIECE_BYTES = 256 * 1024  # of a body that is sent, a fraction of a millisecond
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_INFLATED = (b"gzip", b"x-gzip", b"deflate")
_UNREADABLE = (b"br", b"zstd", b"compress")


class BrokenAnswerError(ConnectionError):
    """The response is not HTTP, or is incomplete."""


class Connection(asyncio.Protocol):
    """Made by an event loop's `create_connection`.

    Attributes:
        status: of the response.
        headers: of the response, names in lower case.
        answered: whether any of the response has arrived.
        idle_since: since when it waits for its next request, on the loop's clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._error: OSError | None = None
        self._transport: Any = None
        self._keeps_alive = self._paused = self._interim = self._full = False
        self.idle_since = 0.0
        self._forget()
        self._complete = True  # until a request is sent, nothing is wanted

    def _forget(self) -> None:
        self.status, self.headers, self.answered = 0, list[tuple[bytes, bytes]](), False
        self._pieces: list[bytes] = []
        self._n_head = self._n_buffered = 0
        self._has_head = self._complete = self._has_length = self._is_cut = False
        self._inflate: Any = None
        self._inflating = False

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        if not (self._complete and self._keeps_alive and self._error is None) or self._paused or self._is_cut:
            return False
        if self._transport.is_closing():
            return False
        return bool(self._transport.get_write_buffer_size() == 0)

    async def ask(self, head: bytes, body: bytes, deadline: float) -> None:
        """Sends a request and waits for the head of its response; closes if none arrives.

        Args:
            head: complete with its blank line.
            deadline: on the loop's clock.

        Raises:
            TimeoutError: nothing arrived by the deadline.
            OSError: the connection broke.
        """
        self._forget()
        try:
            if len(body) < _SMALL_BYTES:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                await self._send(memoryview(body), deadline)
            while not self._has_head:
                await self._wait(deadline)
        except BaseException:
            self.hang_up()
            raise

    async def _send(self, body: memoryview, deadline: float) -> None:
        """Sends a body as fast as the upstream reads it, until it responds."""
        for begin in range(0, len(body), _PIECE_BYTES):
            while self._full and not self._has_head:
                await self._wait(deadline)
            if self._error is not None:
                raise self._error
            if self._has_head:
                self._is_cut = True
                return
            self._transport.write(body[begin : begin + _PIECE_BYTES])
            await asyncio.sleep(0)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def whole(self) -> bytes | None:
        """The whole body, if all of it has arrived and none was read; else None."""
        if not self._complete or self._error is not None or len(self._pieces) != 1:
            return None
        self._n_buffered = 0
        return self._pieces.pop()

    async def read(self, deadline: float) -> bytes:
        """The next part of the body; b"" at its end.

        Raises:
            TimeoutError: nothing arrived by the deadline.
            OSError: the connection broke, or the response is not HTTP.
        """
        while not self._pieces:
            if self._complete:
                return b""
            await self._wait(deadline)
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._n_buffered = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def hang_up(self) -> None:
        """Closes at once."""
        self._transport.abort()

    async def _wait(self, deadline: float) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._watch(deadline)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _watch(self, deadline: float) -> None:
        """Sets the timer, which keeps running when the wait ends, since most waits are short and share it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._watch(self._deadline)
        else:
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: OSError) -> None:
        if self._error is None:
            self._error = error
        self._transport.abort()
        self._wake()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.answered = True
        if not self._has_head:
            self._n_head += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(BrokenAnswerError("what came is not HTTP"))
        if not self._has_head and self._n_head > _MAX_HEAD_BYTES:
            self._fail(BrokenAnswerError(f"more than {_MAX_HEAD_BYTES} bytes of headers"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._complete:
            if error is None and self._has_head and not self._has_length:
                self._end(keeps_alive=False)
            else:
                self._fail(error if isinstance(error, OSError) else BrokenAnswerError("closed before its end"))

    def on_message_begin(self) -> None:
        if self._complete:
            self._fail(BrokenAnswerError("a response without a request"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._interim = self._parser.get_status_code() < 200
        if self._interim:  # such as 100 Continue
            self.headers.clear()
            return
        for name, value in self.headers:
            if name in (b"content-length", b"transfer-encoding"):
                self._has_length = True
            elif name == b"content-encoding":
                self._note_encoding(value.strip().lower())
        self.status = self._parser.get_status_code()
        self._has_head = True
        self._wake()

    def _note_encoding(self, encoding: bytes) -> None:
        if encoding in _INFLATED:
            self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        elif encoding in _UNREADABLE:
            self._fail(BrokenAnswerError(f"a body with encoding {encoding.decode()}, which was not requested"))

    def on_body(self, body: bytes) -> None:
        if self._inflate is not None:
            self._inflating = True
            body = self._inflate.decompress(body, _MAX_INFLATED_BYTES)
            if self._inflate.unconsumed_tail:
                raise BrokenAnswerError(f"a piece of more than {_MAX_INFLATED_BYTES} bytes")
            if not body:
                return
        self._pieces.append(body)
        self._n_buffered += len(body)
        if self._n_buffered > _MAX_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if not self._interim:
            self._end(keeps_alive=self._parser.should_keep_alive())

    def _end(self, *, keeps_alive: bool) -> None:
        if self._inflating and not self._inflate.eof:
            self._fail(BrokenAnswerError("a compressed body without its end"))
            return
        self._complete, self._keeps_alive = True, keeps_alive
        self._wake()
