"""Server-sent events: complete ones are relayed byte by byte, and a broken stream never looks like success."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Self

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.http.streams import ByteStream
from pointsman.serve.protocols.large_json import LARGE_BYTES
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.openai_streams import EventStream

__all__ = ["EventBuffer", "PrimedStream", "event_data", "relay_events"]

MAX_EVENT_BYTES = 32 * 1024 * 1024
_LINGER_S = 0.5  # how long an upstream may take to hang up after [DONE]
_GRACE_S = 3.0  # how long after the end of an answer its usage is waited for
_END = re.compile(rb"(?>\r\n|\n|\r){2,}")
_LINE = re.compile(rb"\r\n|\n|\r")


class EventBuffer:
    """Cuts a byte stream after its last complete event."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that complete events, in order; the rest is held until its event is complete."""
        if not self._held and chunk.endswith(b"\n\n"):
            return chunk
        searched = max(0, len(self._held) - 3)
        self._held += chunk
        end = 0
        for match in _END.finditer(self._held, searched):
            end = match.end()
        if len(self._held) - end > MAX_EVENT_BYTES:
            raise UpstreamFailure(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes")
        complete = bytes(self._held[:end])
        del self._held[:end]
        return complete

    @property
    def n_held(self) -> int:
        """Number of bytes held."""
        return len(self._held)

    @property
    def rest(self) -> bytes:
        """The held part of an incomplete event."""
        return bytes(self._held)


def event_data(events: bytes) -> list[bytes]:
    """The data of complete events, its lines joined by newlines; events without data are left out."""
    found = []
    lines: list[bytes] = []
    for line in [*_LINE.split(events), b""]:
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line and lines:
            found.append(b"\n".join(lines))
            lines = []
    return found


async def relay_events(
    chunks: ByteStream,
    stream: EventStream,
    *,
    redact: Callable[[bytes], bytes] = bytes,
    on_end: Callable[[], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """Relays a stream event by event, each as soon as it is complete, byte by byte.

    Comments, pings and fields that arrive before the answer begins are held until it does: until then another model can
    be asked. A stream that breaks (cut, stalled, malformed, ended before its answer was complete) ends with an error
    event and without [DONE]. One that is complete, however its connection ends, gets the [DONE] that is missing.

    Args:
        redact: removes from events what no client may see.
        on_end: called when nothing more is relayed, for any reason.

    Raises:
        UpstreamFailure: it broke before the answer began.
    """
    buffer, held, started = EventBuffer(), b"", False
    async with aclosing(chunks):
        try:
            while not stream.failed and (chunk := await _next(chunks, _patience_s(stream))) is not None:
                if (n_bytes := len(chunk) + buffer.n_held) <= LARGE_BYTES:  # a call less for each event
                    shown, failure = _read(buffer, chunk, stream)
                else:
                    shown, failure = await off_loop(n_bytes, _read, buffer, chunk, stream)
                if shown:
                    held += shown
                    if stream.begun:
                        started = True
                        yield redact(held) if len(held) <= LARGE_BYTES else await off_loop(len(held), redact, held)
                        held = b""
                if failure is not None:
                    raise failure
            if not stream.failed:
                for last in _finish(buffer.rest, stream):
                    if shown := held + stream.show(last):
                        started, held = True, b""
                        yield await off_loop(len(shown), redact, shown)
        except UpstreamFailure as failure:
            if not started:
                raise
            if stream.finished and not stream.done:
                if stream.closing:
                    yield stream.closing
            elif not stream.done:
                failure.said = redact(failure.said.encode("utf-8", "replace")).decode()
                stream.failed, stream.failure = True, failure
                yield stream.error_event(failure)
        finally:
            if on_end is not None:
                on_end()


class PrimedStream:
    """A relayed stream whose first event has already arrived."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        self._first = first
        self._rest = rest

    @classmethod
    async def open(cls, events: AsyncGenerator[bytes, None]) -> Self:
        """Waits for the first event.

        Raises:
            UpstreamFailure: none arrived.
        """
        return cls(await anext(events), events)

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        if self._first:
            first, self._first = self._first, b""
            return _at_once(first)
        return self._rest.__anext__()

    async def aclose(self) -> None:
        """Hangs up."""
        await self._rest.aclose()


async def _at_once(first: bytes) -> bytes:
    return first


def _patience_s(stream: EventStream) -> float | None:
    """How long to wait for more of a stream; None for as long as its upstream may take."""
    if stream.done:
        return _LINGER_S
    return _GRACE_S if stream.finished else None


async def _next(chunks: ByteStream, timeout_s: float | None) -> bytes | None:
    try:
        if timeout_s is None:
            return await chunks.__anext__()
        async with asyncio.timeout(timeout_s):
            return await chunks.__anext__()
    except (StopAsyncIteration, TimeoutError):
        return None


def _read(buffer: EventBuffer, chunk: bytes, stream: EventStream) -> tuple[bytes, UpstreamFailure | None]:
    """What the client gets of the events that `chunk` completes, and the failure of the first malformed one, if any."""
    events, start = buffer.feed(chunk), 0
    for end, found in _cut(events):
        try:
            for data in found:
                stream.see(data)
        except UpstreamFailure as failure:
            return stream.show(events[:start]), failure
        start = end
        if stream.failed:
            break
    return stream.show(events[:start]), None


def _cut(events: bytes) -> Iterable[tuple[int, Sequence[bytes]]]:
    """Where each of some complete events ends, and its data."""
    n_bytes = len(events)
    if events.startswith(b"data: ") and events.find(b"\n") == n_bytes - 2 and b"\r" not in events:  # as most come
        return ((n_bytes, (events[6:-2],)),)
    return _cut_many(events)


def _cut_many(events: bytes) -> Iterator[tuple[int, Sequence[bytes]]]:
    *parts, rest = events.split(b"\n\n")
    end = 0
    if rest or b"\r" in events or not all(part.startswith(b"data: ") and b"\n" not in part for part in parts):
        for match in _END.finditer(events):
            yield match.end(), event_data(events[end : match.end()])
            end = match.end()
        return
    for part in parts:  # one line of data each, as most services send them
        end += len(part) + 2
        yield end, (part[6:],)


def _finish(rest: bytes, stream: EventStream) -> Iterator[bytes]:
    """The last events, when the upstream has closed the connection."""
    try:
        for data in event_data(rest):
            stream.see(data)
    except UpstreamFailure:
        raise UpstreamFailure("the upstream ended its stream inside an event", code="upstream_cut") from None
    if rest:
        yield rest + b"\n\n" if rest.strip() else rest
    if not stream.finished and not (stream.done and stream.begun):
        raise UpstreamFailure("the upstream ended its stream before the answer was complete", code="upstream_cut")
    if not stream.done and stream.closing:
        yield stream.closing
