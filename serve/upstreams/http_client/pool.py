"""The one pool of connections that all upstreams of a process share."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import aiohappyeyeballs

from pointsman.serve.upstreams.http_client.connection import Connection
from pointsman.serve.upstreams.http_client.destination import Destination, header_lines

if TYPE_CHECKING:
    from pointsman.serve.upstreams.http_client.proxied import ProxiedSession

__all__ = ["Answer", "ConnectTimeoutError", "ConnectionPool"]

_KEEPALIVE_S = 30.0  # below the idle limits of the load balancers that usually stand before an upstream
_ADDRESSES_S = 60.0
_HAPPY_EYEBALLS_S = 0.25


class ConnectTimeoutError(TimeoutError):
    """No connection was available in time."""


class Answer(Protocol):
    """A response whose head has arrived; it must be returned to its pool."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def whole(self) -> bytes | None:
        """The whole body, if all of it has arrived and none was read; else None."""

    async def read(self, deadline: float) -> bytes:
        """The next piece of the body, b"" at its end; raises TimeoutError or another OSError."""

    @property
    def reusable(self) -> bool:
        """Whether it was read to its end, so that its connection can be reused."""

    def hang_up(self) -> None:
        """Closes its connection at once."""


class ConnectionPool:
    """Keeps connections for later requests. Used in one event loop, between `start` and `close`."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        """Starts empty.

        Args:
            tls: for https; made when first needed, with the system's authorities, if None.
        """
        self._idle: dict[tuple[str, str, int], list[Connection]] = {}
        self._addresses: dict[tuple[str, int], tuple[float, Any]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._tls = tls
        self._proxied: ProxiedSession | None = None

    async def start(self) -> None:
        """Prepares once; connections are opened when needed."""
        if self._sweeping is None:
            self._loop = asyncio.get_running_loop()
            self._sweeping = self._loop.call_later(_KEEPALIVE_S, self._sweep)

    async def close(self) -> None:
        """Closes all idle connections."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connections in self._idle.values():
            for connection in connections:
                connection.hang_up()
        self._idle.clear()
        if self._proxied is not None:
            await self._proxied.close()
            self._proxied = None
        await asyncio.sleep(0)  # the transports close in the loop's next turn

    async def post(
        self, to: Destination, headers: Mapping[str, str], body: bytes, *, connect_s: float, deadline: float
    ) -> Answer:
        """Sends a request and waits for the head of its response.

        An idle connection that the upstream has closed is replaced by a new one.

        Args:
            headers: in addition to the destination's.
            connect_s: longest wait for a new connection.
            deadline: for the head, on the loop's clock.

        Raises:
            ConnectTimeoutError: no connection was available within `connect_s`.
            TimeoutError: nothing arrived by the deadline.
            OSError: it could not be reached, or the connection broke.
        """
        if to.proxy is not None:
            return await self._through_proxy().post(to, headers, body, connect_s=connect_s, deadline=deadline)
        more = header_lines(headers) if headers else b""
        head = b"%scontent-length: %d\r\n%s\r\n" % (to.head, len(body), more)
        waiting = self._waiting(to)
        if waiting is not None:
            try:
                await waiting.ask(head, body, deadline)
            except TimeoutError:
                raise
            except OSError:
                if waiting.answered:
                    raise
            else:
                return waiting
        connection = await self._connect(to, connect_s)
        await connection.ask(head, body, deadline)
        return connection

    def release(self, to: Destination, answer: Answer) -> None:
        """Takes a response's connection back; closes it if the response was not read to its end."""
        if isinstance(answer, Connection) and answer.reusable and self._sweeping is not None:
            answer.idle_since = self._loop.time()
            self._idle.setdefault(to.origin, []).append(answer)
        else:
            answer.hang_up()

    def _waiting(self, to: Destination) -> Connection | None:
        idle = self._idle.get(to.origin)
        while idle:
            connection = idle.pop()
            if connection.reusable and self._loop.time() - connection.idle_since < _KEEPALIVE_S:
                return connection
            connection.hang_up()
        return None

    async def _connect(self, to: Destination, connect_s: float) -> Connection:
        scheme, host, port = to.origin
        try:
            async with asyncio.timeout(connect_s):
                addresses = await self._resolve(host, port)
                found = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_S, loop=self._loop
                )
                return await self._open(found, host if scheme == "https" else None)
        except TimeoutError as error:
            raise ConnectTimeoutError from error
        except OSError:
            self._addresses.pop((host, port), None)
            raise

    async def _open(self, found: socket.socket, tls_host: str | None) -> Connection:
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if tls_host is not None and self._tls is None:
                self._tls = ssl.create_default_context()
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop),
                sock=found,
                ssl=self._tls if tls_host is not None else None,
                server_hostname=tls_host,
            )
        except BaseException:
            found.close()
            raise
        return connection

    async def _resolve(self, host: str, port: int) -> Any:
        until, addresses = self._addresses.get((host, port), (0.0, None))
        if addresses is None or self._loop.time() > until:
            addresses = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._addresses[host, port] = (self._loop.time() + _ADDRESSES_S, addresses)
        return addresses

    def _sweep(self) -> None:
        """Closes connections that have been idle for long."""
        oldest = self._loop.time() - _KEEPALIVE_S
        for origin, connections in self._idle.items():
            kept = [c for c in connections if c.reusable and c.idle_since > oldest]
            for connection in set(connections).difference(kept):
                connection.hang_up()
            self._idle[origin] = kept
        self._sweeping = self._loop.call_later(_KEEPALIVE_S, self._sweep)

    def _through_proxy(self) -> "ProxiedSession":
        if self._proxied is None:
            from pointsman.serve.upstreams.http_client.proxied import ProxiedSession

            self._proxied = ProxiedSession()
        return self._proxied
