"""One request on a client's connection and its answer: uvicorn's class, with less work for a whole answer."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

__all__ = ["Cycle", "JoinedWrites", "UnchunkedCycle"]

# Header lines that uvicorn would send as they are, and that say nothing of where the answer ends.
_PLAIN = re.compile(
    rb"(?:(?!connection:|transfer-encoding:|content-length:)"
    rb"[a-z0-9!#$%&'*+.^_`|~-]++: [^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+"
)


class Cycle(RequestResponseCycle):
    """A request and its answer.

    Attributes:
        when_gone: called if the client disconnects before the end of its answer; may be None.
    """

    transport: Any  # a JoinedWrites
    when_gone: Callable[[], None] | None = None
    _start: Any = None

    def hang_up(self) -> None:
        """The client has disconnected."""
        self.disconnected = True
        self.message_event.set()
        if self.when_gone is not None and not self.response_complete:
            self.when_gone()

    async def send(self, message: Any) -> None:
        """Sends a part of the answer. If its length is known, the head waits for the body, as ASGI requires."""
        start, self._start = self._start, None
        if message["type"] == "http.response.start":
            if (headers := message.get("headers")) and headers[0][0] == b"content-length":
                self._start = message
                return
        elif self.chunked_encoding and self._send_chunk(message):
            return
        elif start is not None:
            if self._send_whole(start, message):
                return
            await super().send(start)
        await super().send(message)

    def _send_chunk(self, message: Any) -> bool:
        """Sends a part of a stream as uvicorn would; False if it is not a plain one: nothing is sent then."""
        body = message.get("body")
        if not body or not message.get("more_body") or self.scope["method"] == "HEAD":
            return False
        if self.response_complete or self.disconnected or self.flow.write_paused:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    def _send_whole(self, start: Any, message: Any) -> bool:
        """Sends a whole answer as uvicorn would, but faster; False if it is not a plain one: nothing is sent then."""
        body, (length, *headers) = message.get("body", b""), start["headers"]
        lines = b"".join([b"%b: %b\r\n" % header for header in (*self.default_headers, *headers)])
        if (
            (message.get("more_body") or length[1] != b"%d" % len(body) or not _PLAIN.fullmatch(lines))
            or lines.count(b"\n") != len(self.default_headers) + len(headers)
            or (self.scope["method"] == "HEAD" or start["status"] in (204, 304) or not self.keep_alive)
            or (self.response_started or self.disconnected or self.flow.write_paused or self.access_log)
        ):
            return False
        head = b"%bcontent-length: %b\r\n%b\r\n" % (STATUS_LINE[start["status"]], length[1], lines)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write_joined(head + body)
        self.message_event.set()
        self.on_response()
        return True


class UnchunkedCycle(Cycle):
    """A request of HTTP/1.0, which has no chunks: an answer of unknown length ends with its connection."""

    _ends_with_connection = False

    async def send(self, message: Any) -> None:
        if not self.response_started:
            if all(name.lower() != b"content-length" for name, _ in message.get("headers", ())):
                self._ends_with_connection, self.chunked_encoding = True, False
        elif self._ends_with_connection:
            self.expected_content_length = len(message.get("body", b""))
        await RequestResponseCycle.send(self, message)


class JoinedWrites:
    """A transport that sends the head of an answer together with what follows it at once.

    uvicorn writes them separately, which costs a system call and wakes the client in vain.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def write_joined(self, data: bytes) -> None:
        """Writes a head and what follows it."""
        self._flush()
        self._transport.write(data)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head and not self._transport.is_closing():
            self._transport.write(self._head)
        self._head = b""
