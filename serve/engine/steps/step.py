"""What every step of the routing pipeline is."""

from collections.abc import Awaitable
from typing import Protocol

from pointsman.serve.request.context import RequestContext

__all__ = ["Step"]


class Step(Protocol):
    """One step of the pipeline: reads the request context and fills in its part.

    A step that may have to wait is a coroutine function; the others are plain functions, which cost half as much.
    """

    def __call__(self, context: RequestContext) -> Awaitable[None] | None: ...
