"""What upstreams report as errors: the message and the status that the error's own code means, in every form."""

import asyncio

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.serve.config.secret import Secret
from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.anthropic_stream import MessagesStream
from pointsman.serve.protocols.openai_streams import ChatStream, ResponsesStream
from pointsman.serve.protocols.sse import event_data, relay_events
from pointsman.serve.protocols.upstream_errors import ReportedFailure, describe_refusal, find_error
from pointsman.serve.protocols.whole_answers import chat_as_stream, holds_answer

WORDS = "prompt is too long"
CHUNK = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
LAST = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"error": {"message": WORDS, "code": 400}}, 400),  # vLLM, SGLang
        ({"error": {"message": WORDS, "code": "429"}}, 429),
        ({"error": {"message": WORDS, "status": "INVALID_ARGUMENT", "code": 400}}, 400),  # Gemini
        ({"error": {"message": WORDS, "status": "RESOURCE_EXHAUSTED"}}, 429),
        ({"error": {"message": WORDS, "type": "invalid_request_error", "code": None}}, 400),  # OpenAI
        ({"error": {"message": WORDS, "type": "invalid_request_error", "code": "context_length_exceeded"}}, 400),
        ({"error": {"code": "invalid_prompt", "message": WORDS}}, 400),  # the Responses API
        ({"error": {"code": "image_too_large", "message": WORDS}}, 400),
        ({"error": {"code": "server_error", "message": WORDS}}, 500),
        ({"type": "error", "error": {"type": "overloaded_error", "message": WORDS}}, 529),  # Anthropic
        ({"type": "error", "error": {"type": "rate_limit_error", "message": WORDS}}, 429),
        ({"object": "error", "message": WORDS, "type": "InternalServerError", "code": 500}, 500),  # older vLLM
        ({"object": "error", "message": WORDS, "type": "BadRequestError", "code": 400}, 400),
        ({"type": "error", "code": "rate_limit_exceeded", "message": WORDS, "param": None}, 429),
        ({"error": WORDS}, None),
        ({"error": {"message": WORDS}}, None),
        ({"error": {"message": WORDS, "code": 42}}, None),
    ],
)
def test_an_errors_own_code_is_its_status(document, status):
    """Numbers and words of six services are read; a code that says nothing leaves the status open."""
    found = find_error(document)
    assert (found.message, found.status) == (WORDS, status)


@pytest.mark.parametrize("document", [{}, CHUNK, {"error": None}, {"error": {}}, {"type": "message", "error": None}])
def test_what_reports_no_error_is_none(document):
    """An empty error is no error."""
    assert find_error(document) is None


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps(WORDS),
        WORDS.encode(),
        orjson.dumps([{"error": {"code": 400, "message": WORDS, "status": "INVALID_ARGUMENT"}}]),
        orjson.dumps({"detail": WORDS}),
        orjson.dumps({"detail": [{"loc": ["body"], "msg": WORDS, "type": "value_error"}]}),
        orjson.dumps({"message": WORDS}),
        orjson.dumps({"error": WORDS}),
        orjson.dumps({"error": {"message": WORDS}}),
        orjson.dumps({"errors": [{"message": WORDS}]}),
        orjson.dumps({"object": "error", "message": WORDS}),
    ],
)
def test_a_refusal_is_read_in_every_form(body):
    """Lists, strings, text, FastAPI's detail and flat objects all end as the same message in OpenAI's shape."""
    assert orjson.loads(describe_refusal(body).body())["error"]["message"] == WORDS


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b" <!DOCTYPE html>", b"[]", b"null", b"{}", b'""'])
def test_a_refusal_that_says_nothing_is_none(body):
    """Pages for browsers and empty documents have no message for a client."""
    assert describe_refusal(body) is None


async def relayed(stream, *pieces, **options):
    async def chunks():
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return [shown async for shown in relay_events(chunks(), stream, **options)]


def event(document):
    return b"data: " + orjson.dumps(document) + b"\n\n"


NOT_BEGUN = [
    b": still working\n\n",
    b"retry: 3000\n\n",
    b"id: 7\n\n",
    event({"type": "ping"}),
    b"data: {}\n\n",
    b"\n\n",
]


@given(st.lists(st.sampled_from(NOT_BEGUN), max_size=6))
@settings(max_examples=50)
@pytest.mark.parametrize("kind", [ChatStream, ResponsesStream, MessagesStream])
def test_nothing_begins_an_answer_but_the_answer(kind, before):
    """Whatever comments, pings and fields come first, an error after them can still be retried, a cut one, too."""
    error = {"type": "error", "error": {"message": WORDS, "code": 400, "type": "x"}}
    with pytest.raises(ReportedFailure) as caught:
        asyncio.run(relayed(kind(), *before, event(error)))
    assert caught.value.reported.status == 400
    with pytest.raises(UpstreamFailure, match="before the answer was complete"):
        asyncio.run(relayed(kind(), *before))


async def test_what_came_before_an_answer_is_passed_on_with_it():
    """Comments that were held come with the first event, in their order."""
    out = await relayed(ChatStream(), b": one\n\n", b": two\n\n", event(CHUNK), event(LAST))
    assert out[0] == b": one\n\n: two\n\n" + event(CHUNK)


@pytest.mark.parametrize("failure", [UpstreamFailure("cut"), UpstreamFailure("silent", code="upstream_timeout")])
async def test_a_finished_answer_is_complete_however_its_connection_ends(failure):
    """After a finish_reason a cut or a silence is no failure: the stream ends with its [DONE]."""
    stream = ChatStream()
    out = await relayed(stream, event(CHUNK), event(LAST), failure)
    assert out[-1] == b"data: [DONE]\n\n"
    assert not stream.failed and stream.failure is None


@pytest.mark.parametrize(
    ("kind", "begun"),
    [
        (ChatStream, CHUNK),
        (ResponsesStream, {"type": "response.output_text.delta", "delta": "hi"}),
        (MessagesStream, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
    ],
)
async def test_an_error_that_quotes_half_an_emoji_ends_a_stream(kind, begun):
    """In the API's words, as valid JSON."""
    _, last = await relayed(kind(), event(begun), UpstreamFailure("it broke", said="Hi \ud83d"))
    (data,) = event_data(last)
    assert orjson.loads(data)["error"]["message"] == "it broke: Hi ?"


async def test_a_stream_of_two_answers_needs_both():
    """With n = 2 a stream that is cut after the first answer ends in an error, not in [DONE]."""
    stream = ChatStream()
    stream.n_answers = 2
    out = b"".join(await relayed(stream, event(CHUNK), event(LAST)))
    assert b"[DONE]" not in out and stream.failed


def test_a_200_without_an_answer_of_its_api_holds_none():
    """Empty objects and objects of other APIs are no answers; a response that failed for the request's sake is one."""
    assert not any(holds_answer(path, {}) for path in ("/chat/completions", "/responses", "/messages", "/embeddings"))
    assert holds_answer("/messages", {"content": []}) and not holds_answer("/chat/completions", {"choices": []})
    failed = {"status": "failed", "output": []}
    assert holds_answer("/responses", {**failed, "error": {"code": "invalid_prompt"}})
    assert not holds_answer("/responses", {**failed, "error": {"code": "server_error"}})


async def test_a_whole_answer_is_told_as_a_stream():
    """Text, tool calls and usage of a chat completion survive; two answers both end."""
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"},
        {"index": 1, "message": {"role": "assistant", "tool_calls": calls}, "finish_reason": "tool_calls"},
    ]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    stream = ChatStream()
    stream.n_answers = 2
    document = {"id": "c", "object": "chat.completion", "choices": choices, "usage": usage}
    out = b"".join(await relayed(stream, chat_as_stream(document, usage=True)))
    assert stream.finished and stream.done and not stream.failed
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (3, 4)
    assert stream.answer.text == "hi{}" and out.endswith(b"[DONE]\n\n")


KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40).filter(
    lambda key: not key.isalpha()
)


@given(KEYS, st.sampled_from([ChatStream, ResponsesStream, MessagesStream]), st.integers(0, 3), st.data())
@settings(max_examples=300)
def test_no_planted_key_leaves_a_stream(key, kind, place, data):
    """Wherever an upstream writes its key, in text, errors, ids or comments, plain or escaped, no client sees it."""
    secret = Secret("env:KEY", key)
    planted = {
        0: event({**CHUNK, "id": key, "type": "response.output_text.delta", "delta": key}),
        1: event({"type": "error", "error": {"message": f"bad key {key}", "code": 500}}),
        2: b": " + key.encode() + b"\n\n",
        3: event({"response": {"error": {"message": key}}, "type": "response.failed"}),
    }[place]
    pieces = [event({**CHUNK, "type": "message_start"}), planted, event(LAST)]
    cut = data.draw(st.integers(1, len(planted)))
    pieces[1:2] = [planted[:cut], planted[cut:]]
    out = b"".join(asyncio.run(relayed(kind(), *filter(None, pieces), redact=secret.redact)))
    assert key.encode() not in out and orjson.dumps(key)[1:-1] not in out


def test_a_placeholder_is_no_secret():
    """Services without keys are given words such as "ollama", which answers may contain."""
    assert Secret("config", "ollama").redact(b"ask ollama") == b"ask ollama"
    assert Secret("config", "sk-1").redact(b"ask sk-1") == b"ask [redacted]"
