"""Sends a model the thoughts that it can read: its own, and those that nobody else is known to have made."""

import logging
import re
from collections.abc import Coroutine, Mapping, Set
from dataclasses import replace
from typing import Any

from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.thoughts import without_thinking, without_thoughts
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.upstreams.base import Call, Reply, Upstream, Wrapper

__all__ = ["OwnThoughts"]

_LOG = logging.getLogger(__name__)
_BAD_REQUEST = 400
# "Invalid `signature` in `thinking` block", "invalid_encrypted_content", "Expected `thinking`, but found `tool_use`"
_UNREADABLE = re.compile(
    rb"signature|encrypted.content|expected .{0,3}thinking|start with a thinking block", re.IGNORECASE
)


class OwnThoughts(Wrapper):
    """One model of several. Where it refuses thoughts of unknown makers, it is asked once more without them."""

    def __init__(self, model: str, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._model = model

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        return self._upstream.send(call) if call.thoughts is None else self._send_readable(call)

    async def _send_readable(self, call: Call) -> Reply:
        foreign = {mark for mark, maker in call.makers.items() if maker != self._model}
        if foreign:
            call = await off_loop(len(call.body), _without, call, foreign)
        reply = await self._upstream.send(call)
        if reply.status != _BAD_REQUEST or not _UNREADABLE.search(reply.body):
            return reply
        _LOG.info("model %s rejects the reasoning in a history; retrying without it", self._model)
        return await self._upstream.send(await off_loop(len(call.body), _without_any, call))


def _without(call: Call, foreign: Set[str]) -> Call:
    changed = without_thoughts(call.document, foreign.__contains__)
    return call if changed is None else _with(call, changed)


def _without_any(call: Call) -> Call:
    return _with(call, without_thinking(call.document))


def _with(call: Call, document: Mapping[str, Any]) -> Call:
    return replace(call, body=write_json(document), document=document)
