"""The HTTP protocol on the clients' side: uvicorn's, with limits on the head of a request.

Without them a client could hold a connection forever by sending its headers a byte at a time, or by reading nothing of
its answer, or fill the memory with headers that never end.
"""

import asyncio
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pointsman.serve.config import ServerConfig
from pointsman.serve.http.errors import error_body
from pointsman.serve.server.cycle import Cycle, JoinedWrites, UnchunkedCycle

__all__ = ["LimitedProtocol", "limit_heads"]

_CLOSING_S = 1.0  # for the client to read why
_LAST_REQUEST_S = 0.5  # at the server's end, for one that is on its way


class LimitedProtocol(HttpToolsProtocol):
    """One client's connection."""

    cycle: Any  # a Cycle

    def __init__(
        self, *, header_timeout_s: float, max_header_bytes: int, stall_timeout_s: float, **uvicorns: Any
    ) -> None:
        """Constructed by uvicorn.

        Args:
            header_timeout_s: for the head of a request to arrive, the first one's from the connection on.
            max_header_bytes: of the head of a request.
            stall_timeout_s: for the client to read some of what waits for it.
        """
        super().__init__(**uvicorns)
        self._header_timeout_s = header_timeout_s
        self._max_header_bytes = max_header_bytes
        self._stall_timeout_s = stall_timeout_s
        self._stalled: asyncio.TimerHandle | None = None
        self._n_head = self._n_read = 0
        self._in_head = self._declines = self._too_large = self._refused = self._ending = False
        self._late: asyncio.TimerHandle | None = None
        self._unanswered: list[Cycle] = []  # uvicorn knows the latest alone

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.resume_writing()
        self.pipeline.clear()
        for cycle in self._unanswered:
            cycle.hang_up()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._watch_reader(self.transport.get_write_buffer_size())
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        left: bytes | None = data
        while left is not None:
            left = self._parse(left)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()

    def on_message_begin(self) -> None:
        self._in_head, self._n_head, self._declines = True, 0, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._declines = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._declines:
            return
        self._in_head = False
        self._stop_waiting()
        if self._n_head + self._n_read > self._max_header_bytes:  # what was read may hold some of the body
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            self._too_large = size > self._max_header_bytes
            if self._too_large:
                raise ValueError(size)  # ends the parsing, and comes back as send_400_response
        super().on_headers_complete()  # makes the cycle, which has not begun yet
        self.cycle.__class__ = UnchunkedCycle if self.parser.get_http_version() == "1.0" else Cycle
        self._unanswered = [*(cycle for cycle in self._unanswered if not cycle.response_complete), self.cycle]
        if self._ending or self.parser.should_upgrade():  # after CONNECT nothing that follows can be read
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server stops: the current request, or one that arrives within a moment, is the last."""
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        elif not self._ending:
            self._ending = True
            self.loop.call_later(_LAST_REQUEST_S, super().shutdown)

    def on_message_complete(self) -> None:
        if not self._declines:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_head and self.cycle.response_complete:  # the next request began to arrive during this one
            self._wait_for_head()

    def _parse(self, data: bytes) -> bytes | None:
        """Checks arriving data; returns the data to parse instead, or None."""
        self._n_read = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as upgrade:
            return self._without_upgrade() + data[upgrade.args[0] :] if self._declines else None
        if self._in_head:
            self._n_head += len(data)
            if self._n_head > self._max_header_bytes:
                self._refuse_large()
        return None

    def _without_upgrade(self) -> bytes:
        """The head of a request that offers another protocol, such as HTTP/2, without the offer, for a new parser.

        The old parser would treat what follows the head as the other protocol.
        """
        lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        version = self.parser.get_http_version().encode("ascii")
        head = b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, b"".join(lines))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return head

    def send_400_response(self, msg: str) -> None:
        if self._too_large:
            self._refuse_large()
        else:
            self._refuse(400, "the request is not HTTP/1.1", "bad_request")

    def _watch_reader(self, n_waiting: int) -> None:
        self._stalled = self.loop.call_later(self._stall_timeout_s, self._check_reader, n_waiting)

    def _check_reader(self, n_waited: int) -> None:
        n_waiting = self.transport.get_write_buffer_size()
        if n_waiting < n_waited:  # it reads, however slowly
            self._watch_reader(n_waiting)
        else:
            self.transport.abort()

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._header_timeout_s, self._refuse_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse_late(self) -> None:
        self._refuse(408, f"the headers did not arrive within {self._header_timeout_s:g} s", "request_timeout")

    def _refuse_large(self) -> None:
        self._refuse(431, f"the headers have more than {self._max_header_bytes} bytes", "headers_too_large")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answers, keeps reading for a moment so that the answer is not lost, and closes."""
        self._stop_waiting()
        self._in_head, self._refused = False, True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # the answers before are completed, and then nothing can be said
            if self.cycle.more_body:
                self.transport.close()
            return
        body = error_body(message, "invalid_request_error", code=code)
        head = b"%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (STATUS_LINE[status], len(body)) + body)
        self._late = self.loop.call_later(_CLOSING_S, self.transport.close)
        self.transport.write_eof()


def limit_heads(server: ServerConfig) -> Any:
    """The protocol with a server's limits, for uvicorn's setting `http`."""
    return partial(
        LimitedProtocol,
        header_timeout_s=server.header_timeout_s,
        max_header_bytes=server.max_header_bytes,
        stall_timeout_s=server.stall_timeout_s,
    )
