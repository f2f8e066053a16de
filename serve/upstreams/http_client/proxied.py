"""Requests through the proxy that the environment names, by aiohttp."""

import asyncio
import io
from collections.abc import Mapping

import aiohttp

from pointsman.serve.upstreams.http_client.connection import BrokenAnswerError
from pointsman.serve.upstreams.http_client.destination import Destination

__all__ = ["ProxiedAnswer", "ProxiedSession"]

_LARGE_BYTES = 1 << 20  # above, aiohttp wants a file, which it sends in pieces


class ProxiedAnswer:
    """A response whose head has arrived.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
    """

    reusable = False  # by anyone but aiohttp

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = [(name.lower(), value) for name, value in response.raw_headers]

    def whole(self) -> bytes | None:
        """None: what has arrived is not known here."""
        return None

    async def read(self, deadline: float) -> bytes:
        """The next piece of the body, b"" at its end.

        Raises:
            TimeoutError: nothing arrived by the deadline.
            OSError: the connection broke, or the response is not HTTP.
        """
        try:
            async with asyncio.timeout_at(deadline):
                return await self._response.content.readany()
        except aiohttp.ClientError as error:
            raise _as_os_error(error) from error

    def hang_up(self) -> None:
        """Returns the connection if the response was read to its end, else closes it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class ProxiedSession:
    """Connections to the environment's proxies; created and closed in one event loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def post(
        self, to: Destination, headers: Mapping[str, str], body: bytes, *, connect_s: float, deadline: float
    ) -> ProxiedAnswer:
        """As `ConnectionPool.post`."""
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._session.post(
                    to.url,
                    data=body if len(body) < _LARGE_BYTES else io.BytesIO(body),
                    headers={**headers, **to.headers},
                    proxy=to.proxy,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _as_os_error(error) from error
        return ProxiedAnswer(response)


def _as_os_error(error: Exception) -> OSError:
    cause = getattr(error, "os_error", error)
    return cause if isinstance(cause, OSError) else BrokenAnswerError(type(error).__name__)
