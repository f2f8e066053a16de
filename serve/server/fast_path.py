"""Dispatches the most frequent requests to their endpoints without a framework."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Dispatch", "api_path"]

_API = re.compile(
    r"/(?:v1/)*(chat/completions|responses(?:/.*)?|messages(?:/.*)?|embeddings|models(?:/.*)?|route)", re.DOTALL
)


def api_path(path: str) -> str:
    """The path that a client means if its base URL lacks /v1, has it twice, or ends in a slash."""
    found = _API.fullmatch(re.sub(r"/{2,}", "/", path))
    return f"/v1/{found[1]}" if found else path


class Dispatch:
    """Passes requests for the given methods and paths to their endpoints, everything else to an application.

    A framework's routing and middleware take as long as a routing decision, and loading it takes half as long as
    everything else at start. The endpoints here do not need it: they handle their own errors.
    """

    def __init__(
        self,
        endpoints: Mapping[tuple[str, str], ASGIApp],
        make_app: Callable[[], ASGIApp],
        *,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Does not make the application yet.

        Args:
            endpoints: by method and path.
            make_app: makes the application, in a thread, for its first request.
            before: called before each request that the application answers.
        """
        self._endpoints = endpoints
        self._make_app = make_app
        self._before = before
        self._app: asyncio.Task[ASGIApp] | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            if endpoint := self._endpoints.get((scope["method"], scope["path"])):
                return endpoint(scope, receive, send)
            if (path := api_path(scope["path"])) != scope["path"]:
                return self({**scope, "path": path, "raw_path": quote(path).encode("ascii")}, receive, send)
        return self._answer_by_app(scope, receive, send)

    async def _answer_by_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._before()
        if self._app is None:
            self._app = asyncio.create_task(self._make())
        app = await asyncio.shield(self._app)  # which others may be waiting for as well
        await app(scope, receive, send)

    async def _make(self) -> ASGIApp:
        try:
            return await asyncio.to_thread(self._make_app)
        except BaseException:
            self._app = None  # the next request may have more luck, with more descriptors for example
            raise
