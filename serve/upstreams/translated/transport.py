"""Lets LiteLLM translate and nothing else: what it sends goes through one of our own upstreams."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.openai_streams import EventStream
from pointsman.serve.protocols.sse import PrimedStream, relay_events
from pointsman.serve.upstreams.base import Call, Reply, Upstream

__all__ = ["PENDING", "NativeTransport", "Pending"]

_PASSED_ON = ("anthropic-beta", "anthropic-version")


@dataclass(slots=True)
class Pending:
    """One call while it is translated.

    Attributes:
        call: as the client made it.
        answered: whether the upstream answered at all.
        refusal: the upstream's answer where that is an error.
        failure: why the upstream gave none, or broke it off.
        events: the upstream's stream; closing it hangs up.
    """

    call: Call
    answered: bool = False
    refusal: Reply | None = None
    failure: UpstreamFailure | None = None
    events: PrimedStream | None = None

    async def hang_up(self) -> None:
        """Ends the upstream's stream, wherever it is."""
        if self.events is not None:
            await self.events.aclose()


PENDING: ContextVar[Pending] = ContextVar("pending")


class NativeTransport(httpx.AsyncBaseTransport):
    """Hands every request to an upstream, with its timeouts, its key and the watch over its streams."""

    def __init__(
        self,
        native: Upstream,
        path: str,
        new_stream: Callable[[], EventStream],
        *,
        adapt: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """
        Args:
            path: the one that is asked.
            new_stream: makes the watch over an event stream.
            adapt: last changes to the translated request; whether there were any.
        """
        self._native = native
        self._path = path
        self._new_stream = new_stream
        self._adapt = adapt

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pending = PENDING.get()
        body = await request.aread()
        document = orjson.loads(body)
        if self._adapt is not None and self._adapt(document):
            body = orjson.dumps(document)
        headers = {name: value for name, value in request.headers.items() if name in _PASSED_ON}
        call = replace(
            pending.call,
            path=self._path,
            body=body,
            document=document,
            stream=bool(document.get("stream")),
            headers={**headers, **pending.call.headers},
        )
        try:
            return await self._send(call, pending)
        except UpstreamFailure as failure:
            pending.failure = failure
            raise

    async def _send(self, call: Call, pending: Pending) -> httpx.Response:
        reply = await self._native.send(call)
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in reply.headers]
        if reply.chunks is None:
            pending.answered = True
            pending.refusal = reply if reply.status >= 400 else None
            return httpx.Response(reply.status, headers=headers, content=reply.body)
        stream = self._new_stream()
        pending.events = await PrimedStream.open(relay_events(reply.chunks, stream))
        pending.answered = True
        return httpx.Response(reply.status, headers=headers, stream=_Stream(_watched(pending.events, stream, pending)))


class _Stream(httpx.AsyncByteStream):
    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for events in self._events:
            yield events

    async def aclose(self) -> None:
        await self._events.aclose()


async def _watched(events: PrimedStream, stream: EventStream, pending: Pending) -> AsyncGenerator[bytes, None]:
    """The upstream's events; a stream that breaks is remembered and raised, whatever is made of its last event."""
    async for some in events:
        if stream.failed:
            pending.failure = stream.failure or UpstreamFailure("the upstream reported an error in its answer")
            raise pending.failure
        yield some
