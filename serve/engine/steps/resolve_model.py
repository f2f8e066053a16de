"""Reads the model field of a request."""

from collections.abc import Collection, Mapping
from functools import lru_cache, partial

from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.protocols.model_field import parse_model_field
from pointsman.serve.request.context import RequestContext

__all__ = ["ResolveModel"]


class ResolveModel:
    """Finds out which router with which threshold, or which model, a request asks for."""

    def __init__(self, routers: Mapping[str, ServedRouter], models: Collection[str]) -> None:
        self._models = models
        self._parse = lru_cache(maxsize=1024)(partial(parse_model_field, routers=routers, models=models))

    async def __call__(self, context: RequestContext) -> None:
        field = self._parse(context.request.model)
        if field.router is not None and not context.surface.routed:
            raise RequestError(
                f"model {context.request.model!r} names a router, and /v1{context.surface.path} is not routed: "
                f"name a model instead, one of {', '.join(self._models)}",
                param="model",
            )
        context.parsed = field
