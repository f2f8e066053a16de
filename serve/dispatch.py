"""The way from a request to its endpoint, short for the requests that matter."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Dispatch"]


class Dispatch:
    """Hands POST requests for the given paths to their endpoints, everything else to an application.

    A framework's routing and middleware cost as much as a routing decision does. The endpoints here need neither: they
    answer all that happens to them themselves.
    """

    def __init__(self, posts: Mapping[str, ASGIApp], app: ASGIApp) -> None:
        self._posts = posts
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and (endpoint := self._posts.get(scope["path"])):
            await endpoint(scope, receive, send)
        else:
            await self._app(scope, receive, send)
