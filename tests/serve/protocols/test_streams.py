"""The relay of event streams."""

import asyncio
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.openai_streams import DONE, ChatStream, ResponsesStream
from pointsman.serve.protocols.sse import EventBuffer, PrimedStream, event_data, relay_events


def chunk(finish=None, index=0, **delta):
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def event(value, end="\n\n"):
    return f"data: {json.dumps(value, ensure_ascii=False)}{end}".encode()


async def relay(*pieces, kind=ChatStream):
    """What a client receives of an upstream's pieces; an exception among them is raised."""

    async def upstream():
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return [out async for out in relay_events(upstream(), kind())]


def cut_at(data, cuts):
    places = sorted({min(c, len(data)) for c in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


ends = st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.just("x" * 100_000)
odd_events = st.sampled_from(
    [b": keep-alive\n\n", b"event: message\nid: 7\ndata: {}\n\n", b"retry: 5\r\n\r\n", b'data: {"a":\ndata: 1}\n\n']
)
events = st.builds(lambda text, end: event(chunk(content=text), end), texts, ends) | odd_events


def typed(kind, end="\n\n", **fields):
    """An event with its type in its name, as the Responses and the Messages API send them."""
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}{end[: len(end) // 2]}data: {data}{end}".encode()


said = {
    ChatStream: lambda text, end: event(chunk(content=text), end),
    ResponsesStream: lambda text, end: typed("response.output_text.delta", end, delta=text),
    MessagesStream: lambda text, end: typed(
        "content_block_delta", end, index=0, delta={"type": "text_delta", "text": text}
    ),
}
finish = {
    ChatStream: lambda end: event(chunk("stop"), end) + f"data: [DONE]{end}".encode(),
    ResponsesStream: lambda end: typed("response.completed", end, response={}),
    MessagesStream: lambda end: (
        typed("message_delta", end, delta={"stop_reason": "end_turn"}) + typed("message_stop", end)
    ),
}


@pytest.mark.parametrize("kind", said)
@settings(max_examples=50)  # of each protocol
@given(st.lists(st.tuples(texts, ends, st.none() | odd_events), max_size=6), ends, st.lists(st.integers(0, 400)))
async def test_a_sound_stream_arrives_byte_by_byte(kind, stream, end, cuts):
    """Wherever it is cut into chunks, even inside a character or a line end, every byte arrives, in order."""
    spoken = [odd or said[kind](text, end) for text, end, odd in stream]
    data = b"".join(spoken) + finish[kind](end)
    assert b"".join(await relay(*cut_at(data, cuts), kind=kind)) == data


@pytest.mark.parametrize("kind", said)
@settings(max_examples=50)  # of each protocol
@given(st.lists(st.tuples(texts, ends), max_size=6), st.lists(st.integers(0, 400), max_size=12))
async def test_the_relay_knows_what_was_said(kind, stream, cuts):
    """However it was cut, the watch over a stream has its whole text, or the beginning and the length of a long one."""
    watch, spoken = kind(), "".join(text for text, _ in stream)
    data = b"".join(said[kind](text, end) for text, end in stream) + finish[kind]("\n\n")

    async def upstream():
        for piece in cut_at(data, cuts):
            yield piece

    assert b"".join([out async for out in relay_events(upstream(), watch)]) == data
    assert watch.finished
    assert watch.answer.n_chars == len(spoken)
    assert spoken.startswith(watch.answer.text)
    assert watch.answer.is_whole == (watch.answer.text == spoken)


@pytest.mark.parametrize("kind", said)
@settings(max_examples=50)  # of each protocol
@given(st.lists(st.tuples(texts, ends), min_size=1, max_size=4), st.integers(1, 400))
async def test_a_stream_that_is_cut_anywhere_is_no_success(kind, stream, n_bytes):
    """What is complete arrives byte by byte, then an error event; the end of the protocol is never made up."""
    data = b"".join(said[kind](text, end) for text, end in stream)
    end = finish[kind]("\n\n")
    first = len(said[kind](*stream[0]))
    data = data[: max(first, len(data) - n_bytes)]
    watch = kind()

    async def upstream():
        yield data

    out = b"".join([piece async for piece in relay_events(upstream(), watch)])
    complete = EventBuffer().feed(data) if not data.endswith(b"\n\n") else data
    assert out.startswith(complete)
    assert b"error" in out[len(complete) :]
    assert not out.endswith(end)
    assert watch.failed


@given(st.lists(events, min_size=1, max_size=6), st.lists(st.integers(0, 400), max_size=12))
async def test_no_event_waits_for_the_next(stream, cuts):
    """Whatever completes an event releases it; nothing but an incomplete event is held."""
    buffer, seen = EventBuffer(), b""
    for piece in cut_at(b"".join(stream), cuts):
        seen += buffer.feed(piece)
    assert seen + buffer.rest == b"".join(stream)
    assert not buffer.rest.strip()


async def test_events_are_passed_on_as_they_come():
    """One chunk in, one chunk out: a stream is never gathered."""
    parts = [event(chunk(content="a")), event(chunk(content="b")), event(chunk("stop")), DONE]
    assert await relay(*parts) == parts


@pytest.mark.parametrize(
    "broken",
    [
        [],
        [b'data: {"choices": [{"del'],
        [b"data: not json\n\n"],
        [b"data: [1, 2]\n\n"],
        [UpstreamFailure("the connection was reset", code="upstream_cut")],
        [b'data: {"choices"', UpstreamFailure("stalled", status=504)],
    ],
    ids=["ends early", "ends inside an event", "no JSON", "no object", "reset", "stalled inside an event"],
)
async def test_a_broken_stream_is_never_presented_as_success(broken):
    """What is complete is passed on; then comes an OpenAI-shaped error event, and no [DONE]."""
    good = event(chunk(content="a"))
    out = b"".join(await relay(good, *broken))
    assert out.startswith(good)
    last = event_data(out)[-1]
    assert set(json.loads(last)["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in out
    assert len(event_data(out)) == 2


@pytest.mark.parametrize("broken", [[], [b"data: no\n\n"], [UpstreamFailure("reset")], [b'data: {"error": {}}\n\n']])
async def test_a_stream_that_breaks_before_its_first_event_raises(broken):
    """Then there is still time to answer with an error status, or to ask another model."""
    first = broken[0] if broken else b""
    if first == b'data: {"error": {}}\n\n':
        broken = [b'data: {"error": {"message": "overloaded"}}\n\n']
    with pytest.raises(UpstreamFailure):
        await relay(*broken)


async def test_an_error_event_of_the_upstream_ends_the_stream():
    """It is passed on as it is, and nothing after it, least of all [DONE]."""
    good, bad = event(chunk(content="a")), event({"error": {"message": "overloaded"}})
    assert b"".join(await relay(good + bad + DONE)) == good + bad


async def test_a_malformed_event_does_not_take_the_sound_ones_before_it_along():
    """Events that arrive in the same chunk, but earlier, are passed on."""
    good = event(chunk(content="a"))
    out = b"".join(await relay(good + good + b"data: {]\n\n" + DONE))
    assert out.startswith(good + good + b'data: {"error"')
    assert b"[DONE]" not in out


async def test_a_complete_stream_without_done_gets_it():
    """An answer with its finish_reason is complete; the marker that clients wait for is supplied."""
    parts = [event(chunk(content="a")), event(chunk("stop"))]
    assert await relay(*parts) == [*parts, DONE]


async def test_a_stream_of_several_answers_is_complete_when_all_are():
    """With n > 1 the first finish_reason is not the last: a stream that is cut between them is broken."""
    both = [event(chunk(index=i, content="a")) for i in range(2)]
    ends = [event(chunk("stop", index=i)) for i in range(2)]
    assert await relay(*both, *ends) == [*both, *ends, DONE]
    for some in ([*both, ends[0]], [both[0], ends[0], both[1]]):
        out = await relay(*some)
        assert out[:-1] == some
        assert json.loads(event_data(out[-1])[0])["error"]["code"] == "upstream_cut"


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: [DONE]\n"])
async def test_a_done_without_its_blank_line_is_completed(end):
    """Clients dispatch an event at its blank line, so it gets one."""
    out = b"".join(await relay(event(chunk("stop")), end))
    assert event_data(out)[-1] == b"[DONE]"
    assert out.startswith(event(chunk("stop")) + end)
    assert out.endswith(b"\n\n")


async def test_an_upstream_that_does_not_hang_up_does_not_keep_the_client():
    """After [DONE] the stream ends within a second, whether the upstream closes it or not."""
    closed = []

    async def upstream():
        try:
            yield event(chunk("stop")) + DONE
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    assert b"".join([out async for out in relay_events(upstream(), ChatStream())]).endswith(DONE)
    assert closed


async def test_closing_a_primed_stream_closes_the_upstream():
    """A client that leaves after the first event hangs up on the upstream."""
    closed = []

    async def upstream():
        try:
            while True:
                yield event(chunk(content="a"))
        finally:
            closed.append(True)

    stream = await PrimedStream.open(relay_events(upstream(), ChatStream()))
    assert await anext(stream) == event(chunk(content="a"))
    await stream.aclose()
    assert closed


async def test_numbers_that_are_no_json_but_usual_pass():
    """Infinite log-probabilities, which some upstreams write, do not break a stream."""
    odd = b'data: {"choices": [], "logprob": -Infinity, "text": "\\ud800"}\n\n'
    assert (await relay(odd, event(chunk("stop")), DONE))[0] == odd


def response_event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete"])
async def test_a_responses_stream_ends_with_its_last_event(end):
    """The Responses API knows no [DONE]: nothing is added, and nothing waited for."""
    parts = [response_event("response.created"), response_event("response.output_text.delta", delta="a")]
    parts.append(response_event(end))
    assert await relay(*parts, kind=ResponsesStream) == parts


@pytest.mark.parametrize(
    "broken", [[], [b"data: no\n\n"], [UpstreamFailure("reset")]], ids=["ends early", "no JSON", "reset"]
)
async def test_a_broken_responses_stream_ends_with_an_error_event(broken):
    """The error event has the type that the API's clients know."""
    created = response_event("response.created")
    out = b"".join(await relay(created, *broken, kind=ResponsesStream))
    assert out.startswith(created + b"event: error\n")
    last = json.loads(event_data(out)[-1])
    assert last["type"] == "error"
    assert last["message"] == last["error"]["message"]


async def test_a_failed_response_is_told_as_it_is():
    """After its first event a failure is passed on; as the first event it is an error that may be retried."""
    failed = response_event("response.failed", response={"error": {"message": "overloaded"}})
    created = response_event("response.created")
    assert await relay(created, failed, response_event("x"), kind=ResponsesStream) == [created, failed]
    with pytest.raises(UpstreamFailure) as caught:
        await relay(failed, kind=ResponsesStream)
    assert "overloaded" in caught.value.message
    assert "overloaded" not in str(caught.value)
