"""Serves a model on APIs that its service does not have, by translating requests, answers and streams."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.http.streams import Headers
from pointsman.serve.protocols.long_documents import explored, is_long
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.openai_streams import EventStream
from pointsman.serve.protocols.read_json import read_json
from pointsman.serve.protocols.sse import PrimedStream, event_data, relay_events
from pointsman.serve.protocols.token_count import count_input_tokens
from pointsman.serve.protocols.upstream_errors import ReportedError, ReportedFailure, find_error
from pointsman.serve.protocols.usage import Usage
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.upstreams.base import Call, Reply, Upstream, Wrapper, refuse_surface
from pointsman.serve.upstreams.providers import Target
from pointsman.serve.upstreams.translated.directions import CHAT_PATH, MESSAGES_PATH, RESPONSES_PATH, Direction, Events
from pointsman.serve.upstreams.translated.hints import RefusedHints

__all__ = ["Directions", "Translator"]

_JSON, _EVENTS = b"application/json", b"text/event-stream; charset=utf-8"
_OF_THE_BODY = (b"content-type", b"content-length", b"content-encoding")
_MOST_MENDED = 4  # attempts of one request, for services that report one parameter at a time
_REQUEST_IDS = (b"request-id", b"x-request-id")  # Anthropic's and OpenAI's header of the same meaning


class Directions:
    """The translations for a model, by the client's path.

    Attributes:
        paths: these paths.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.paths = (CHAT_PATH, RESPONSES_PATH) if target.protocol == "anthropic" else (MESSAGES_PATH,)

    def __getitem__(self, path: str) -> Direction:
        return self._loaded[path]

    @cached_property
    def _loaded(self) -> Mapping[str, Direction]:
        """Loaded when first needed, since most models are called only through their own API."""
        from pointsman.serve.upstreams.translated.translations import translations_of

        return translations_of(self._target)


class Translator(Wrapper):
    """One model: its service's own APIs are passed through, the others are translated."""

    def __init__(
        self,
        native: Upstream,
        model: str,
        directions: Directions,
        *,
        paths: Iterable[str],
        speaks: Callable[[str], bool] | None = None,
    ) -> None:
        """
        Args:
            model: its name here.
            directions: by the client's path.
            paths: of the service's own APIs.
            speaks: whether it has a path of `directions` after all, known once it has started; never if None.
        """
        super().__init__(native)
        self._model = model
        self._paths = tuple(paths)
        self._directions = directions
        self._speaks = speaks or (lambda path: False)
        self._hints: dict[str, RefusedHints] = {}

    def serves(self, path: str) -> bool:
        return path in self._paths or path in self._directions.paths

    def check(self, path: str, document: Mapping[str, Any]) -> None:
        if not self._is_native(path) and path in self._directions.paths:
            self._directions[path].request(document)

    def send(self, call: Call) -> Coroutine[Any, Any, Reply]:
        return self._upstream.send(call) if self._is_native(call.path) else self._translate(call)

    def _is_native(self, path: str) -> bool:
        return path in self._paths or self._speaks(path)

    async def _translate(self, call: Call) -> Reply:
        if call.path not in self._directions.paths:
            refuse_surface(call, self._model, (*self._paths, *self._directions.paths))
        direction = self._directions[call.path]
        reply = await self._ask(call, direction)
        if reply.chunks is not None:
            return await self._streamed(reply, call, direction)
        headers = _headers(reply.headers, _JSON)
        if reply.status >= 400:
            return Reply(reply.status, headers, direction.error(reply.body))
        return await off_loop(max(len(reply.body), len(call.body)), self._answer, reply, headers, call, direction)

    def _answer(self, reply: Reply, headers: Headers, call: Call, direction: Direction) -> Reply:
        document = reply.document if reply.document is not None else _parsed(reply.body)
        made = direction.answer(document, {**call.document, "model": self._model})
        body = write_json(made)
        if is_long(body):
            made = explored(made, "answer")
        return Reply(reply.status, headers, body, document=made, source=document)

    async def _ask(self, call: Call, direction: Direction) -> Reply:
        """Calls the service, and retries without hints that it rejects."""
        hints = self._hints.setdefault(call.path, RefusedHints(direction.hints))
        headers = {k: v for k, v in call.headers.items() if not k.startswith(direction.foreign_headers)}
        asked = replace(call, path=direction.path, headers=headers)
        first = document = hints.applied(await off_loop(len(call.body), direction.request, call.document))
        for _ in range(_MOST_MENDED):
            body = await off_loop(len(call.body), write_json, document)
            reply = await self._upstream.send(replace(asked, document=document, body=body))
            mended = hints.mended(document, reply.status, reply.body)
            if mended is None:
                break
            document = mended
        if reply.status < 400 and document is not first:
            hints.remember(first, document)
        return reply

    async def _streamed(self, reply: Reply, call: Call, direction: Direction) -> Reply:
        assert reply.chunks is not None
        source = direction.watch()
        try:
            events = await PrimedStream.open(relay_events(reply.chunks, source))
        except ReportedFailure as failure:  # in its first event
            if failure.reported.status is None:
                raise
            headers = _headers(reply.headers, _JSON)
            return Reply(failure.reported.status, headers, direction.error(failure.reported.body()))
        made = await off_loop(len(call.body), direction.events, {**call.document, "model": self._model})
        chunks = _translated(events, source, made, direction, call.document)
        hides_usage = call.path == CHAT_PATH and not _asks_for_usage(call.document)
        return Reply(
            reply.status, _headers(reply.headers, _EVENTS), chunks=chunks, hides_usage=hides_usage, source=source
        )


async def _translated(
    events: PrimedStream, source: EventStream, made: Events, direction: Direction, asked: Mapping[str, Any]
) -> AsyncGenerator[bytes, None]:
    """The client's events, joined for each piece of the service's stream.

    Raises:
        UpstreamFailure: the stream broke, or reported an error.
    """
    try:
        async for some in events:
            written, reported = await off_loop(len(some), _written, some, source, made, direction)
            if written:
                yield written
            if source.failed:
                said = reported.message if reported is not None else ""
                raise source.failure or UpstreamFailure("the upstream reported an error in its answer", said=said)
        usage = source.usage or Usage(count_input_tokens(asked), source.n_tokens(), estimated=True)
        yield await off_loop(source.answer.n_chars, _ended, made, usage, direction)
    finally:
        await events.aclose()


def _written(
    some: bytes, source: EventStream, made: Events, direction: Direction
) -> tuple[bytes, ReportedError | None]:
    """The client's events for one piece, up to the first error."""
    written, reported = [], None
    for event in [_parsed(data) for data in event_data(some) if data.strip() not in (b"", b"[DONE]")]:
        if source.failed and (reported := find_error(event)) is not None:
            break
        written += [_event(one, direction) for one in made.feed(event)]
    return b"".join(written), reported


def _ended(made: Events, usage: Usage, direction: Direction) -> bytes:
    return b"".join(_event(one, direction) for one in made.end(usage)) + direction.closing


def _event(event: dict[str, Any], direction: Direction) -> bytes:
    if direction.named:
        return b"event: %s\ndata: %s\n\n" % (event["type"].encode("ascii"), write_json(event))
    return b"data: %s\n\n" % write_json(event)


def _asks_for_usage(document: Mapping[str, Any]) -> bool:
    options = document.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _headers(given: Headers, content_type: bytes) -> Headers:
    """The service's headers without those of its body; its request id under both names that clients use."""
    kept = {name: value for name, value in given if name not in _OF_THE_BODY}
    for name, other in (_REQUEST_IDS, _REQUEST_IDS[::-1]):
        if name in kept:
            kept.setdefault(other, kept[name])
    return ((b"content-type", content_type), *kept.items())


def _parsed(data: bytes) -> dict[str, Any]:
    """The JSON object in an answer or an event, which was checked before; NaN and the like are accepted."""
    document = read_json(data)
    return document if isinstance(document, dict) else {}
