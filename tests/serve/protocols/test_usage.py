"""Tokens of answers: as the upstream reports them, asked for where the client does not, or counted here."""

import json
from itertools import cycle

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.edit_json import ask_for_usage, hide_usage
from pointsman.serve.protocols.openai_streams import DONE, ChatStream, ResponsesStream
from pointsman.serve.protocols.sse import relay_events
from pointsman.serve.protocols.token_count import TextSample, count_input_tokens, count_tokens
from pointsman.serve.protocols.usage import Usage, read_usage
from pointsman.serve.upstreams.base import Reply
from pointsman.serve.upstreams.tries import Attempt, _answer_text

from support.charging import ChargingUpstream
from support.upstream import LocalServer

REPORTED = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (REPORTED, Usage(9, 5)),
        ({**REPORTED, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(9, 5, 4)),
        ({**REPORTED, "prompt_tokens_details": None}, Usage(9, 5)),
        ({**REPORTED, "prompt_cache_hit_tokens": 8}, Usage(9, 5, 8)),
        ({**REPORTED, "cache_creation_input_tokens": 3}, Usage(9, 5, 0, 3)),
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(9, 0)),
        ({"input_tokens": 9, "output_tokens": 5}, Usage(9, 5)),
        ({"input_tokens": 9, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}, Usage(9, 5, 4)),
        (
            {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 10},
            Usage(119, 5, 100, 10),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 5}, Usage(0, 5)),
    ],
)
def test_usage_is_read_in_every_dialect(reported, usage):
    """OpenAI's two APIs, DeepSeek's and LiteLLM's additions, Anthropic's, whose input leaves out what is cached."""
    assert read_usage(reported) == usage


@pytest.mark.parametrize(
    "reported",
    [
        *(None, 7, "9", [], {}, {"prompt_tokens": -1}, {"prompt_tokens": "9"}, {"prompt_tokens": True}, {"x": 1}),
        *({"prompt_tokens": 10**18}, {"input_tokens": 2**64}),
        *({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {"input_tokens": 0, "output_tokens": 0}),
    ],
)
def test_usage_that_is_none_is_not_believed(reported):
    """Negative, textual, absurd or missing counts, and zeros throughout, are as if nothing had been said."""
    assert read_usage(reported) is None


spaces = st.sampled_from(["", " ", "\n\t"])


@given(
    st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers() | st.lists(st.booleans(), max_size=3)),
    st.sampled_from([..., None, {}, {"include_usage": False}, {"include_obfuscation": True}]),
    st.booleans(),
)
def test_asking_for_usage_changes_nothing_else(others, options, last):
    """Every other member stays as it was, byte by byte, wherever the options stand."""
    others.pop("stream_options", None)
    asked = {} if options is ... else {"stream_options": options}
    document = {"model": "m", **others, **asked} if last else {**asked, "model": "m", **others}
    body = json.dumps(document).encode()
    changed = ask_for_usage(body, document)
    assert json.loads(changed) == {
        **document,
        "stream_options": {**(asked.get("stream_options") or {}), "include_usage": True},
    }
    assert all(json.dumps(value).encode() in changed for value in others.values())
    if options is ...:
        assert changed.replace(b',"stream_options":{"include_usage":true}', b"") == body


@pytest.mark.parametrize("options", [{"include_usage": True}, "yes", 7, {"a": {"b": {"c": {}}}}])
def test_options_that_are_not_ours_to_change_stay(options):
    """What asks already, or is malformed, or too deep to step over, goes upstream as it is."""
    document = {"model": "m", "stream_options": options}
    assert ask_for_usage(json.dumps(document).encode(), document) is None


def chunk(text, **more):
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.just('"usage": null'), max_size=5),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.lists(st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n\n\n"]), min_size=1, max_size=2),
    st.sampled_from(["first", "middle", "last"]),
)
def test_hiding_usage_shows_what_would_have_come_without_asking(texts, separators, ends, place):
    """Byte by byte, in compact and in spaced JSON, whatever the answers say, and however events end."""

    def stream(values):
        lines = [f"data: {json.dumps(value, separators=separators)}" for value in values]
        return "".join(map("".join, zip(lines, cycle(ends)))).encode()

    def with_null(value):
        items = list(value.items())
        items.insert({"first": 0, "middle": 1, "last": len(items)}[place], ("usage", None))
        return dict(items)

    plain = stream(map(chunk, texts)) + DONE
    told = {"id": "c", "choices": [], "usage": REPORTED}
    assert hide_usage(stream([*map(with_null, map(chunk, texts)), told]) + DONE) == plain
    assert hide_usage(plain) == plain


@pytest.mark.parametrize(
    "event",
    [
        chunk("a", usage=REPORTED),
        {"choices": [{"index": 0, "delta": {}, "usage": None}]},
        {"choices": [], "prompt_filter_results": [{"usage": None}]},
        {"choices": [], "note": "usage"},
    ],
)
def test_what_does_not_come_of_asking_is_shown(event):
    """Usage beside an answer, in a choice, or elsewhere is the upstream's own."""
    data = f": a comment\nid: 7\ndata: {json.dumps(event)}\n\n".encode()
    assert hide_usage(data) == data


async def watched(stream, *events):
    """The stream after these events, and what the client saw."""

    async def upstream():
        for event in events:
            yield event if isinstance(event, bytes) else f"data: {json.dumps(event)}\n\n".encode()

    return stream, b"".join([out async for out in relay_events(upstream(), stream)])


STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("kind", "events", "usage"),
    [
        (ChatStream, [chunk("a"), STOP, {"choices": [], "usage": REPORTED}, DONE], Usage(9, 5)),
        (
            ChatStream,
            [chunk("a", usage={**REPORTED, "completion_tokens": 1}), {**STOP, "usage": REPORTED}],
            Usage(9, 5),
        ),
        (
            ResponsesStream,
            [
                {"type": "response.created", "response": {"usage": None}},
                {"type": "response.completed", "response": {"usage": {"input_tokens": 9, "output_tokens": 5}}},
            ],
            Usage(9, 5),
        ),
        (
            MessagesStream,
            [
                {"type": "message_start", "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 1}}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
                {"type": "message_stop"},
            ],
            Usage(10, 5, 1),
        ),
    ],
)
async def test_streams_tell_their_usage(kind, events, usage):
    """In their last chunk, their last event, or their first and last."""
    stream, _ = await watched(kind(), *events)
    assert stream.usage == usage


async def test_the_usage_that_was_asked_for_here_is_not_shown():
    """The stream knows it, the client does not see it."""
    stream = ChatStream()
    stream.hides_usage = True
    stream, shown = await watched(stream, chunk("a", usage=None), STOP, {"choices": [], "usage": REPORTED}, DONE)
    assert stream.usage == Usage(9, 5)
    assert b"usage" not in shown
    assert shown.endswith(DONE)


async def test_odd_chunks_do_not_break_the_count():
    """Whatever an upstream puts where text should be."""
    odd = [{"content": 7}, {"content": None}, {"tool_calls": 3}, {"tool_calls": [None, {"function": 4}]}, 5, None]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in odd]
    stream, _ = await watched(ChatStream(), *chunks, {"choices": "none", "usage": 3}, chunk("abc"), STOP, DONE)
    assert stream.answer.n_chars == 3
    assert stream.usage is None


async def test_thoughts_and_tools_count_as_answer():
    """They are charged as output, too."""
    calls = {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"arguments": '{"city": "Paris"}'}}]}}]}
    thinking = {"choices": [{"index": 0, "delta": {"reasoning_content": "Let me think about it."}}]}
    stream, _ = await watched(ChatStream(), thinking, calls, chunk("Yes."), STOP, DONE)
    assert stream.answer.text == '{"city": "Paris"}Yes.'
    assert stream.thought.text == "Let me think about it."
    assert stream.n_tokens() == count_tokens('{"city": "Paris"}Yes.') + count_tokens("Let me think about it.")


REQUEST = {"model": "m", "messages": [{"role": "user", "content": "What is the capital of France?"}]}


@pytest.mark.parametrize(
    ("tried", "usage"),
    [
        (Attempt("m"), None),
        (Attempt("m", abandoned=True), Usage(count_input_tokens(REQUEST), 0, estimated=True)),
        (Attempt("m", reply=Reply(200, (), json.dumps({"usage": REPORTED}).encode())), Usage(9, 5)),
        (Attempt("m", reply=Reply(503, (), json.dumps({"error": {}, "usage": REPORTED}).encode())), Usage(9, 5)),
        (Attempt("m", reply=Reply(503, (), b'{"error": {}}')), None),
        (Attempt("m", reply=Reply(503, (), b"<html>")), None),
        (Attempt("m", reply=Reply(503, (), b"[1]")), None),
        (
            Attempt("m", reply=Reply(200, (), b'{"choices": [{"message": {"content": "It is Paris."}}], "usage": {}}')),
            Usage(count_input_tokens(REQUEST), count_tokens("It is Paris."), estimated=True),
        ),
        (
            Attempt("m", reply=Reply(200, (), b'{"content": [{"type": "text", "text": "It is Paris."}]}')),
            Usage(count_input_tokens(REQUEST), count_tokens("It is Paris."), estimated=True),
        ),
        (
            Attempt(
                "m",
                reply=Reply(200, (), b'{"output": [{"content": [{"type": "output_text", "text": "It is Paris."}]}]}'),
            ),
            Usage(count_input_tokens(REQUEST), count_tokens("It is Paris."), estimated=True),
        ),
    ],
)
def test_a_try_is_charged_what_was_reported_or_else_estimated(tried, usage):
    """Failures count if they report usage; whole answers that report none are counted here; what failed is free."""
    assert tried.usage(REQUEST) == usage


async def test_a_stream_without_usage_is_estimated_from_what_came():
    """Also where it broke; one that never began is free; Anthropic's says what the prompt took before it begins."""
    stream, _ = await watched(ChatStream(), chunk("It is "), chunk("Paris."))
    assert stream.failed
    found = Attempt("m", reply=Reply(200, (), chunks=iter(())), stream=stream).usage(REQUEST)
    assert found == Usage(count_input_tokens(REQUEST), count_tokens("It is Paris."), estimated=True)
    assert Attempt("m", reply=Reply(200, (), chunks=iter(())), stream=ChatStream()).usage(REQUEST) is None
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 77, "output_tokens": 1}}}
    delta = {"type": "content_block_delta", "delta": {"text": "It is Paris."}}
    stream, _ = await watched(MessagesStream(), start, delta)
    found = Attempt("m", reply=Reply(200, (), chunks=iter(())), stream=stream).usage(REQUEST)
    assert found == Usage(77, count_tokens("It is Paris."), estimated=True)


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]}]},
        {"input": "What is the capital of France?"},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "What is the capital of France?"}]}]},
        {"messages": [{"role": "user", "content": "What is the capital"}], "system": " of France?"},
    ],
)
def test_prompts_of_every_surface_are_counted(request_):
    """The words are counted wherever they stand, and little else."""
    assert 7 <= count_input_tokens(request_) <= 12


def test_images_and_tools_have_their_tokens():
    """An image counts as one, not as the letters of its data; tools count as their JSON."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    assert 760 < count_input_tokens({"messages": [{"role": "user", "content": [image]}]}) < 780
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    assert count_input_tokens({**REQUEST, "tools": tools}) > count_input_tokens(REQUEST) + 10


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_no_request_is_too_odd_to_count(value):
    """Whatever stands where messages should be."""
    for key in ("messages", "input", "system", "tools"):
        assert count_input_tokens({key: value}) >= 0
        assert count_input_tokens({"messages": [{"role": "user", "content": value, "tool_calls": value}]}) >= 0


@given(st.lists(st.text(max_size=30), max_size=20), st.integers(1, 2000))
def test_a_sample_counts_its_whole_text(pieces, times):
    """However it comes in pieces, and in proportion where it is long."""
    sample = TextSample()
    for piece in pieces * times:
        sample.add(piece)
    text = "".join(pieces * times)
    assert sample.n_chars == len(text)
    if sample.is_whole:
        assert sample.n_tokens() == count_tokens(text)


def test_long_texts_are_counted_in_proportion():
    """A text of a hundred times the words has about a hundred times the tokens, in bounded time."""
    words = "the quick brown fox jumps over the lazy dog " * 500
    assert count_tokens(words * 100) == pytest.approx(100 * count_tokens(words), rel=0.01)


@pytest.fixture
def front():
    """A server before an upstream that refuses to tell the usage of streams, and counts how it is asked."""
    upstream = ChargingUpstream()
    upstream.asked = []
    answer = upstream._answer

    async def refuse(request):
        document = await request.json()
        upstream.asked.append("stream_options" in document)
        if "stream_options" in document and document["model"] == "big-1":
            return refusal("Unrecognized request argument supplied: stream_options")
        return await answer(request)

    upstream._answer = refuse
    with LocalServer(upstream.app()) as up:
        model = {"base_url": f"{up.url}/v1", "retry": {"attempts": 0}}
        models = {"big": {**model, "model": "big-1"}, "small": {**model, "model": "small-1"}}
        models["quiet"] = {**models["small"], "include_usage": "never"}
        config = make_config({"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}})
        with LocalServer(create_app(config)) as server:
            yield server, upstream


def refusal(message):
    return JSONResponse({"error": {"message": message, "type": "t", "param": None, "code": None}}, 400)


def stream_of(server, model):
    body = {"model": model, "messages": [{"role": "user", "content": "streamed 1 5 please"}], "stream": True}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200
    return answer.text


def test_an_upstream_that_refuses_the_option_is_served_without_it(front):
    """It is asked again at once, and from then on as the client asks; its streams are estimated."""
    server, upstream = front
    assert stream_of(server, "big") == stream_of(server, "big")
    assert upstream.asked == [True, False, False]
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'pointsman_usage_estimated_total{model="big"} 2.0' in metrics
    assert 'pointsman_usage_unpriced_total{model="big"} 2.0' in metrics


def test_asking_can_be_turned_off(front):
    """Then the upstream gets the client's bytes, and the client the upstream's: the same as with asking."""
    server, upstream = front
    assert stream_of(server, "quiet") == stream_of(server, "small")
    assert upstream.asked == [False, True]


def test_a_client_that_asks_is_shown(front):
    """Its own wish is passed on, and the answer as it is."""
    server, _ = front
    body = {"model": "small", "messages": [{"role": "user", "content": "streamed 1 5 please"}], "stream": True}
    answer = httpx.post(
        f"{server.url}/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}}
    ).text
    assert '"choices": [], "usage": {"prompt_tokens"' in answer
    assert '"usage": null' in answer


parts_of_answers = st.recursive(
    st.text("ab", max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["content", "text", "arguments", "message", "role"]), inner, max_size=3),
    ),
    max_leaves=20,
)


@given(parts_of_answers)
def test_what_an_answer_says_is_all_of_its_texts(said):
    """Wherever they stand in it, and however many parts there are: each part is looked at once."""
    assert _answer_text({"choices": said}).n_chars == sum(map(len, texts_of(said, said=False)))


def texts_of(value, *, said):
    """The texts of an answer, the slow and obvious way."""
    if isinstance(value, str):
        return [value] if said else []
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each, said=False)]
    spoken = ("content", "text", "arguments")
    return [text for key, each in value.items() for text in texts_of(each, said=key in spoken)]
