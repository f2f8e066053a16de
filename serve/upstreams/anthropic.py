"""Upstreams that speak Anthropic's protocol, passed through as OpenAI's is."""

from dataclasses import replace

from pointsman.serve.upstreams.base import Call, Reply
from pointsman.serve.upstreams.openai import OpenAIUpstream

__all__ = ["AnthropicUpstream"]

_VERSION_HEADER, _VERSION = "anthropic-version", "2023-06-01"


class AnthropicUpstream(OpenAIUpstream):
    """One model at one URL; the API version is the client's, else the current one."""

    @property
    def provider(self) -> str:
        return "anthropic"

    async def send(self, call: Call) -> Reply:
        return await super().send(replace(call, headers={_VERSION_HEADER: _VERSION, **call.headers}))
