"""What every step of the routing pipeline is."""

from typing import Protocol

from pointsman.serve.request.context import RequestContext

__all__ = ["Step"]


class Step(Protocol):
    """One step of the pipeline: reads the request context and fills in its part."""

    async def __call__(self, context: RequestContext) -> None: ...
