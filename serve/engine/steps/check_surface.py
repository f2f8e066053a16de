"""Filters the candidates by API."""

from collections.abc import Mapping

from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.base import Upstream

__all__ = ["CheckSurface"]


class CheckSurface:
    """Removes candidates that are not served on the request's API, as long as another one is."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._serving: dict[str, frozenset[str]] = {}

    def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        path = context.surface.path
        if path not in self._serving:  # one of the few that are served
            self._serving[path] = frozenset(
                model for model, upstream in self._upstreams.items() if upstream.serves(path)
            )
        serving = self._serving[path]
        if serving.issuperset(context.candidates):
            return
        if able := tuple([model for model in context.candidates if model in serving]):
            context.candidates, context.reason = able, f"served on /v1{path}"
