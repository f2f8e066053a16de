"""Held streams: collected and checked before they are relayed, with keep-alive comments meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.http.streams import ByteStream
from pointsman.serve.protocols.openai_streams import EventStream
from pointsman.serve.protocols.said import StreamReader
from pointsman.serve.protocols.sse import event_data
from pointsman.serve.upstreams.attempts import Answered
from pointsman.serve.upstreams.base import Reply

__all__ = ["Beginning", "HeldStream", "Replay", "collect"]

_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)
_ALIVE = b": one moment\n\n"


@dataclass(slots=True)
class Beginning:
    """The part of a stream received so far.

    Attributes:
        events: its chunks, to be relayed.
        reader: has read them.
        whole: whether nothing more follows.
    """

    events: list[bytes] = field(default_factory=list)
    reader: StreamReader = field(default_factory=StreamReader)
    whole: bool = False


async def collect(chunks: ByteStream, *, up_to: int | None) -> Beginning:
    """Collects a stream to its end, or up to this many tokens of text; to its end if it calls a tool.

    What a chunk holds beyond these tokens is relayed but not read, so that chunk boundaries make no difference.
    """
    found = Beginning()
    try:
        async for piece in chunks:
            found.events.append(piece)
            for data in event_data(piece):
                found.reader.see(data)
                if up_to is not None and not found.reader.has_tool_calls and found.reader.n_tokens() >= up_to:
                    return found
    except BaseException:
        await chunks.aclose()
        raise
    found.whole = True
    return found


class Replay:
    """Replays the held chunks, then relays the rest of the stream."""

    def __init__(self, pieces: list[bytes], rest: ByteStream | None) -> None:
        self._pieces = list(reversed(pieces))
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop()
        if self._rest is None:
            raise StopAsyncIteration
        return await self._rest.__anext__()

    async def aclose(self) -> None:
        """Closes the rest."""
        if self._rest is not None:
            await self._rest.aclose()


class HeldStream:
    """An event stream that sends only keep-alive comments until its answer is ready."""

    def __init__(
        self,
        climbing: "asyncio.Task[Answered]",
        stream: EventStream,
        *,
        every_s: float,
        tell: Callable[[], str],
    ) -> None:
        """Takes over a running task that gets the answer.

        Args:
            stream: stands in for the answer's own until it is known, and words failures.
            every_s: between comments.
            tell: text about the cascade for a last comment, since the headers have been sent.
        """
        self._climbing = climbing
        self._stream = stream
        self._every_s = every_s
        self._tell = tell
        self._found: Answered | None = None
        self._passing = self._pass_on()

    def answered(self, model: str) -> Answered:
        """The answer so far: only its head."""
        return Answered(Reply(200, _EVENTS, chunks=self), model, self._stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await self._passing.__anext__()

    async def aclose(self) -> None:
        """Cancels what is running."""
        await self._passing.aclose()
        self._climbing.cancel()
        with suppress(asyncio.CancelledError, UpstreamFailure, RequestError):
            self._found = await self._climbing
        if self._found is not None and self._found.reply.chunks is not None:
            await self._found.reply.chunks.aclose()

    async def _pass_on(self) -> AsyncGenerator[bytes, None]:
        yield _ALIVE
        while not self._climbing.done():
            await asyncio.wait({self._climbing}, timeout=self._every_s)
            if not self._climbing.done():
                yield _ALIVE
        try:
            found = self._found = self._climbing.result()
        except (UpstreamFailure, RequestError) as error:
            failure = error if isinstance(error, UpstreamFailure) else UpstreamFailure(str(error), status=error.status)
            self._stream.failed, self._stream.failure = True, failure
            yield self._stream.error_event(failure)
            return
        if found.reply.chunks is None:
            failure = UpstreamFailure(f"model {found.model!r} answered {found.reply.status}", status=found.reply.status)
            self._stream.failed, self._stream.failure = True, failure
            yield self._stream.error_event(failure)
            return
        yield b": " + self._tell().encode("ascii", "replace") + b"\n\n"
        async for piece in found.reply.chunks:
            yield piece
        if found.stream is not None:
            self._stream.failed |= found.stream.failed
