"""Keeps out the pages of other sites, which run in a browser on this machine, too.

Where keys are required, a page without one gets nothing. Where none are, two checks protect what is shown: a request
must name this server by a host that no outsider can make up (an address, localhost, or a configured name), and what
browsers say of its origin must be this server's own. A POST without an origin is not from a browser: any host will do.
The host is checked on every path: a page whose name was pointed at this server's address (DNS rebinding) has an origin
of its own, and that name is all that gives it away.
Requests that cost money but reveal nothing, such as completions, are allowed to pages of listed origins as well.
"""

from collections.abc import Awaitable, Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.serve.http.asgi import send_body
from pointsman.serve.http.errors import RequestError

__all__ = ["KnownHostsOnly", "ListedPagesOnly", "OwnPagesOnly"]


class _HostCheck:
    """Wraps an ASGI application."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = ()) -> None:
        """Checks requests before the application gets them.

        Args:
            hosts: names, beside localhost and addresses, that the server is reached by.
        """
        self._app = app
        self._hosts = {host.lower() for host in hosts}


class KnownHostsOnly(_HostCheck):
    """403 for a request, other than a POST, to a host name that an outsider may have made up; none is fine."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] != "POST":
            host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
            if host and not _is_known(host, self._hosts):
                return _send(send, _unknown(host))
        return self._app(scope, receive, send)


class OwnPagesOnly(_HostCheck):
    """403 for a foreign host or origin, 415 for a body that is not JSON."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if error := self._problem(scope["method"], headers):
            await _send(send, error)
            return
        await self._app(scope, receive, send)

    def _problem(self, method: str, headers: dict[bytes, bytes]) -> RequestError | None:
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin")
        if (method != "POST" or origin is not None) and not _is_known(host, self._hosts):
            return _unknown(host)
        if origin is not None and not _is_own(origin, host):
            return _refused(f"origin {origin.decode('latin-1')!r} is not this server")
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return _refused("the request comes from another site's page")
        if method == "POST" and headers.get(b"content-type", b"").partition(b";")[0].strip() != b"application/json":
            return RequestError("wanted a body with content-type application/json", status=415)
        return None


class ListedPagesOnly(_HostCheck):
    """403 for a request from a page that is neither this server's own nor listed.

    Only browsers send an origin: all other requests pass.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str] = (), hosts: Collection[str] = ()) -> None:
        """Lets through what comes from no page, from one of this server's, or from a page of `origins`.

        Args:
            origins: as browsers name them, or "*" for all.
            hosts: names, beside localhost and addresses, that the server is reached by.
        """
        super().__init__(app, hosts=hosts)
        self._origins = frozenset(origin.encode("utf-8") for origin in origins)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for name, value in scope["headers"]:
            if name == b"origin" and not self._may_ask(value, dict(scope["headers"])):
                message = (
                    f"origin {value.decode('latin-1')!r} is not allowed on a server without access keys: "
                    "list it as one of server.cors_origins"
                )
                return _send(send, _refused(message))
        return self._app(scope, receive, send)

    def _may_ask(self, origin: bytes, headers: dict[bytes, bytes]) -> bool:
        if origin in self._origins or b"*" in self._origins:
            return True
        host = headers.get(b"host", b"").decode("latin-1")
        return _is_own(origin, host) and _is_known(host, self._hosts)


def _is_own(origin: bytes, host: str) -> bool:
    return origin.decode("latin-1").partition("://")[2].lower() == host.lower()


def _is_known(host: str, hosts: Collection[str]) -> bool:
    """Whether no outsider can have made up this host name."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost") or name in hosts:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _unknown(host: str) -> RequestError:
    message = f"host {host!r} is not allowed on a server without access keys: open it at localhost or an address, "
    return _refused(message + "or name the host under dashboard.hosts")


async def _send(send: Send, error: RequestError) -> None:
    await send_body(send, error.status, error.body(), ((b"content-type", b"application/json"),))


def _refused(message: str) -> RequestError:
    return RequestError(message, status=403, type="permission_error", code="foreign_origin")
