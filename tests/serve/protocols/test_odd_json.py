"""JSON that orjson does not write, which clients and services send: lone surrogates, long integers, infinities."""

import json
import math

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from pointsman.serve.http.errors import error_body
from pointsman.serve.protocols.anthropic_errors import reshape_error
from pointsman.serve.protocols.logprobs import ask_for_logprobs, hide_logprobs, hide_logprobs_in_events
from pointsman.serve.protocols.read_json import read_json
from pointsman.serve.protocols.said import StreamReader, read_said
from pointsman.serve.protocols.sse import event_data
from pointsman.serve.protocols.translation.errors import messages_error_message
from pointsman.serve.protocols.translation.responses_over_messages.conversation import sealed, unsealed
from pointsman.serve.protocols.translation.schemas import schema_instruction
from pointsman.serve.protocols.translation.tools import arguments_text
from pointsman.serve.protocols.upstream_errors import describe_refusal
from pointsman.serve.protocols.whole_answers import chat_as_stream
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.upstreams.base import Reply
from pointsman.serve.upstreams.translated.arguments import event_bytes, whole_bytes

HALF = "Hi \ud83d"  # an emoji that was cut off
CHOICE = {"index": 0, "message": {"role": "assistant", "content": HALF}, "finish_reason": "stop"}
THOUGHT = {"type": "thinking", "thinking": HALF, "signature": "c2ln"}
ODD_TEXT = st.text(st.characters(codec=None))  # surrogates, too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD_TEXT, inner, max_size=4),
    max_leaves=12,
)


def strictly(data):
    """The value of JSON that is UTF-8 and has no NaN and no infinity."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def joined(value):
    """`value` as JSON can tell it: pairs of surrogates as characters, numbers that are not finite as null."""
    if isinstance(value, dict):
        return {joined(name): joined(part) for name, part in value.items()}
    if isinstance(value, list):
        return [joined(part) for part in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(VALUES)
@example([HALF, math.inf, -math.inf, math.nan, 2**64, {HALF: 10**40}])
@example({"a": [math.nan], "b": HALF})
def test_whatever_was_read_is_written_as_valid_json(value):
    """Lone surrogates and long integers as they came, what is not finite as null, together and apart."""
    written = write_json(value)
    assert strictly(written) == joined(value)
    assert read_json(written) == joined(value)


@given(VALUES)
def test_what_orjson_writes_is_written_by_it(value):
    """Byte by byte, so that nothing changes for anyone else."""
    try:
        expected = orjson.dumps(value)
    except TypeError:
        return
    assert write_json(value) == expected


def test_deep_documents_are_written():
    """orjson gives up at 254 levels, requests may have 300."""
    value = HALF
    for _ in range(300):
        value = [value]
    assert strictly(write_json(value)) == value


def test_what_is_no_json_is_refused():
    """Other types, unless something makes JSON types of them, and what contains itself."""
    with pytest.raises(TypeError):
        write_json({"a": {1, 2}})
    assert strictly(write_json([HALF, {1}], default=list)) == [HALF, [1]]
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        write_json(loop)


def test_what_is_not_json_is_not_read():
    """Nor what is nested too deeply for anyone."""
    for data in (b"", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(ValueError):
            read_json(data)


class _Said(BaseModel):
    text: str


def _chunk():
    """A whole chat completion with log-probabilities, as an event."""
    return {"choices": [{**CHOICE, "logprobs": {"content": [{"token": HALF, "logprob": -0.1}]}}], "top_logprobs": 2}


WRITERS = {
    "a tool's arguments": lambda: arguments_text({"text": HALF}),
    "a schema in words": lambda: schema_instruction({"schema": {"description": HALF}}).partition(":\n")[2],
    "an answer told as a stream": lambda: event_data(chat_as_stream({"choices": [CHOICE]}, usage=False))[0],
    "log-probabilities asked for": lambda: ask_for_logprobs(
        b"{}",
        {"logprobs": False, "user": HALF, "n": math.inf},
        "/chat/completions",
    )[0],
    "log-probabilities hidden": lambda: hide_logprobs(_chunk()),
    "log-probabilities hidden in a stream": lambda: event_data(
        hide_logprobs_in_events(b"data: %b\n\n" % json.dumps(_chunk()).encode())
    )[0],
    "LiteLLM's dictionaries": lambda: whole_bytes({"text": HALF}),
    "LiteLLM's models": lambda: whole_bytes(_Said.model_construct(text=HALF)),
    "LiteLLM's events": lambda: event_data(event_bytes({"type": "delta", "text": HALF}))[0],
    "LiteLLM's chunks": lambda: event_data(event_bytes(_Said.model_construct(text=HALF)))[0],
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_passes_text_on_that_was_cut_off(name):
    """As valid JSON, with the half of the emoji that it has, and without log-probabilities that nobody asked for."""
    written = WRITERS[name]()
    found = strictly(written if isinstance(written, bytes) else written.encode("utf-8"))
    assert HALF in leaves(found) and -0.1 not in leaves(found)


def leaves(value):
    """All texts and numbers in a value."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [leaf for part in parts for leaf in leaves(part)]
    return [value]


def test_a_thought_that_was_cut_off_comes_back():
    """What is sealed for a client is read again."""
    assert unsealed(sealed(THOUGHT)) == THOUGHT


def test_an_answer_that_was_cut_off_is_read():
    """Whole and streamed, by what checks answers and bills them."""
    reply = Reply(200, (), json.dumps({"choices": [CHOICE]}).encode())
    assert read_said(reply.parsed())[0].text == HALF
    reader = StreamReader()
    reader.see(json.dumps({"choices": [{"index": 0, "delta": {"content": HALF}}]}).encode())
    assert read_said(reader.document())[0].text == HALF
    assert Reply(200, (), b"<html>").parsed() == {}


ERROR = {"message": f"context_length_exceeded: {HALF}", "type": HALF, "code": HALF}


@pytest.mark.parametrize(
    "told",
    [
        lambda body: describe_refusal(body).body(),
        lambda body: reshape_error(400, body),
        lambda body: error_body(HALF, HALF, param=HALF, code=HALF),
    ],
)
def test_an_error_that_quotes_what_was_cut_off_is_told(told):
    """In each API's words, as valid JSON."""
    error = strictly(told(json.dumps({"error": ERROR}).encode()))["error"]
    assert "Hi" in error["message"] and "{" not in error["message"]


def test_a_prompt_that_is_too_long_is_told_though_it_is_quoted():
    """In the words by which Anthropic's clients know it."""
    told = strictly(messages_error_message(json.dumps({"error": ERROR}).encode()))["error"]
    assert told["message"] == "prompt is too long: context_length_exceeded: Hi ?"
