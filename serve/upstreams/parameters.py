"""Puts a model's configured parameters into its requests, so that one upstream model gives several candidates."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pointsman.serve.protocols.edit_json import add_members
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.upstreams.base import Call, Reply, Upstream, Wrapper

__all__ = ["WithParameters"]

_ANSWERING = ("/chat/completions", "/responses", "/messages")


class WithParameters(Wrapper):
    """An upstream whose requests for an answer carry further parameters."""

    def __init__(self, upstream: Upstream, parameters: Mapping[str, Any], *, override: bool) -> None:
        """Wraps an upstream.

        Args:
            parameters: members of the request; what a client sets itself stays as it is.
            override: whether they take the place of what a client sets.
        """
        super().__init__(upstream)
        self._parameters, self._override = dict(parameters), override

    async def send(self, call: Call) -> Reply:
        if call.path not in _ANSWERING:
            return await self._upstream.send(call)
        absent = {name: value for name, value in self._parameters.items() if name not in call.document}
        added = self._parameters if self._override else absent
        if not added:
            return await self._upstream.send(call)
        document = {**call.document, **added}
        if len(added) == len(absent):
            body = await off_loop(len(call.body), add_members, call.body, added)
        else:
            body = await off_loop(len(call.body), write_json, document)
        return await self._upstream.send(replace(call, body=body, document=document))
