"""Filters the candidates by API."""

from collections.abc import Mapping

from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.base import Upstream

__all__ = ["CheckSurface"]


class CheckSurface:
    """Removes candidates that are not served on the request's API, as long as another one is."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        path = context.surface.path
        able = tuple([model for model in context.candidates if self._upstreams[model].serves(path)])
        if able and len(able) < len(context.candidates):
            context.candidates, context.reason = able, f"served on /v1{path}"
