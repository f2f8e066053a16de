"""Counts tokens for models whose service has no way to: Anthropic's clients ask before they send."""

from collections.abc import Coroutine
from typing import Any

import orjson

from pointsman.serve.protocols.token_count import count_input_tokens
from pointsman.serve.upstreams.base import Call, Reply, Wrapper

__all__ = ["CountingTokens"]

_PATH = "/messages/count_tokens"
_HEADERS = ((b"content-type", b"application/json"), (b"x-pointsman-estimated", b"true"))


class CountingTokens(Wrapper):
    """An upstream that answers count_tokens; where its service does not, with an estimate made here."""

    def serves(self, path: str) -> bool:
        return path == _PATH or super().serves(path)

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        if call.path != _PATH or super().serves(call.path):
            return self._upstream.send(call)
        return self._estimate(call)

    async def _estimate(self, call: Call) -> Reply:
        counted = {"input_tokens": count_input_tokens(call.document)}
        return Reply(200, _HEADERS, orjson.dumps(counted), document=counted)
