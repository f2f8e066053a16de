"""The one pool of connections that all upstreams of a process share."""

import os

import aiohttp

__all__ = ["ConnectionPool"]

_KEEPALIVE_S = 30.0  # below the idle limits of the load balancers that usually stand before an upstream
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


class ConnectionPool:
    """Opens and closes the session of the event loop it serves."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session.

        Raises:
            RuntimeError: the pool was not started.
        """
        if self._session is None:
            raise RuntimeError("the connection pool is not open: start the engine first")
        return self._session

    async def start(self) -> None:
        """Opens the session unless it is open; connections are made when first needed."""
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=any(os.environ.get(name) for name in _PROXY_VARIABLES),
        )

    async def close(self) -> None:
        """Closes the session with all its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
