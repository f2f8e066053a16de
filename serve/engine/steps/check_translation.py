"""Filters the candidates by whether the request can be translated to their API."""

import asyncio
from collections.abc import Awaitable, Mapping

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.large_json import LARGE_BYTES
from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.base import Upstream

__all__ = ["CheckTranslation"]


class CheckTranslation:
    """Removes candidates whose API cannot express the request.

    A parameter, content part or tool that one candidate's API does not support sends the request to another; it is
    rejected only if none supports it.
    """

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    def __call__(self, context: RequestContext) -> Awaitable[None] | None:
        if context.parsed is None or context.parsed.router is None:
            return None
        if len(context.request.body) > LARGE_BYTES:
            return asyncio.to_thread(self._check, context)
        self._check(context)
        return None

    def _check(self, context: RequestContext) -> None:
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
        context.reason = f"{first.param} is supported only there" if first.param else "can be requested only there"
