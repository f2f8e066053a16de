"""Counts tokens for models whose service has no way to: Anthropic's clients ask before they send."""

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

    async def send(self, call: Call) -> Reply:
        if call.path != _PATH or super().serves(call.path):
            return await self._upstream.send(call)
        counted = {"input_tokens": count_input_tokens(call.document)}
        return Reply(200, _HEADERS, orjson.dumps(counted), document=counted)
