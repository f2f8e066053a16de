"""Filters the candidates by whether their services can be asked for what the request asks for."""

from collections.abc import Mapping

from pointsman.serve.http.errors import RequestError
from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.base import Upstream

__all__ = ["CheckTranslation"]


class CheckTranslation:
    """Removes candidates whose service speaks another API in which the request cannot be put.

    A parameter, a part or a tool that one model's service has no words for is a reason to ask another, and only where
    none has any to refuse the request.
    """

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def __call__(self, context: RequestContext) -> None:
        if context.parsed is None or context.parsed.router is None:
            return
        able, first = [], None
        for model in context.candidates:
            try:
                self._upstreams[model].check(context.surface.path, context.request.document)
            except RequestError as error:
                first = first or error
            else:
                able.append(model)
        if first is None:
            return
        if not able:
            raise first
        context.candidates = tuple(able)
        context.reason = f"{first.param} is known there alone" if first.param else "can be asked there alone"
