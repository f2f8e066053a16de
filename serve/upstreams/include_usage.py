"""Asks for the usage of streams where the client does not."""

import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from pointsman.serve.protocols.edit_json import ask_for_usage
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.upstreams.base import Call, Reply, Upstream, Wrapper

__all__ = ["AskingForUsage"]

_LOG = logging.getLogger(__name__)
_CHAT_PATH = "/chat/completions"
_OPTION = b"stream_options"


class AskingForUsage(Wrapper):
    """An upstream whose chat streams tell their usage: `stream_options.include_usage` is set for the client.

    One that refuses the option is asked again without it; only if that succeeds is it never asked with it again.
    """

    def __init__(self, model: str, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._model = model
        self._refused = False

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        if not call.stream or self._refused or call.path != _CHAT_PATH:
            return self._upstream.send(call)
        return self._ask_for_usage(call)

    async def _ask_for_usage(self, call: Call) -> Reply:
        body = await off_loop(len(call.body), ask_for_usage, call.body, call.document)
        if body is None:
            return await self._upstream.send(call)
        options = {**(call.document.get("stream_options") or {}), "include_usage": True}
        document = {**call.document, "stream_options": options}
        reply = await self._upstream.send(replace(call, body=body, document=document))
        if reply.status in (400, 422) and _OPTION in reply.body:
            reply = await self._upstream.send(call)
            if reply.status < 300:
                _LOG.warning("model %s rejects stream_options; their usage is estimated from now on", self._model)
                self._refused = True
            return reply
        return reply if reply.chunks is None else replace(reply, hides_usage=True)
