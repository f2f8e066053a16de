"""Reads the model field of a request."""

from collections.abc import Collection, Mapping
from functools import lru_cache, partial

from pointsman.core.errors import ConfigError
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.protocols.model_field import parse_model_field, resolve_alias
from pointsman.serve.request.context import RequestContext

__all__ = ["ResolveModel"]


class ResolveModel:
    """Finds out which router with which threshold, or which model, a request asks for."""

    def __init__(
        self, routers: Mapping[str, ServedRouter], models: Collection[str], aliases: Mapping[str, str] | None = None
    ) -> None:
        """Knows these names.

        Raises:
            ConfigError: an alias means nothing that could be asked for.
        """
        self._models = models
        self._aliases = aliases or {}
        parse = partial(parse_model_field, routers=routers, models=models, aliases=aliases)
        for alias, means in self._aliases.items():
            try:
                parse_model_field(means, routers=routers, models=models)
            except RequestError as error:
                raise ConfigError(f"aliases.{alias}: {error}") from None
        self.parse = lru_cache(maxsize=1024)(parse)

    def means(self, field: str) -> str:
        """The model field that an alias stands for; any other field unchanged."""
        return resolve_alias(field, self._aliases)

    def __call__(self, context: RequestContext) -> None:
        field = self.parse(context.request.model)
        if field.router is not None and not context.surface.routed:
            raise RequestError(
                f"model {context.request.model!r} names a router, and /v1{context.surface.path} is not routed: "
                f"name a model instead, one of {', '.join(self._models)}",
                param="model",
            )
        context.parsed = field
