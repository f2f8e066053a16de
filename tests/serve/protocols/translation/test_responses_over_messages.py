"""A client of OpenAI's Responses API before a service of Anthropic's Messages API."""

import json
from contextlib import suppress
from typing import Any

import openai
import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.protocols.translation.read import Untranslatable
from pointsman.serve.protocols.translation.responses_over_messages.answer import response
from pointsman.serve.protocols.translation.responses_over_messages.request import messages_request
from pointsman.serve.protocols.translation.responses_over_messages.stream import ResponseEvents
from pointsman.serve.protocols.usage import read_usage

from support.conversations import as_events, broken, broken_events, check, message_answers, responses_requests, texts_in

MODEL = "claude-opus-4-8"
_NOTHING = getattr(openai, "omit", openai.NOT_GIVEN)  # the name before openai 2
_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PATCH = {"type": "custom", "name": "apply_patch"}
NAMESPACE = {"type": "namespace", "name": "files", "description": "d", "tools": [{"type": "function", "name": "read"}]}


def _request(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": "Hello", **fields}


def _streamed(events: list[dict[str, Any]], asked: dict[str, Any], usage: Any) -> list[dict[str, Any]]:
    stream = ResponseEvents(asked, created=1)
    return [made for event in events for made in stream.feed(event)] + list(stream.end(read_usage(usage)))


@settings(max_examples=50)
@given(responses_requests())
def test_every_request_is_one_of_anthropics(document):
    """What is sent has the types of Anthropic's SDK and no field beside them; turns take turns."""
    sent = messages_request(document, MODEL)
    sent.pop("stream", None)
    check(MessageCreateParamsBase, sent)
    roles = [turn["role"] for turn in sent["messages"]]
    assert roles == [("user", "assistant")[i % 2] for i in range(len(roles))]


@settings(max_examples=100)
@given(responses_requests())
def test_nothing_that_was_said_is_lost(document):
    """Every text of a turn, a call's input and a result is in what is sent."""
    told = "\0".join(texts_in(messages_request(document, MODEL)))
    items = document["input"] if isinstance(document["input"], list) else [{"content": document["input"]}]
    for item in items:
        for key in ("content", "output", "input"):
            parts = item.get(key, "")
            texts = [parts] if isinstance(parts, str) else [part.get("text", "") for part in parts]
            assert all(text in told for text in texts)


@settings(max_examples=50)
@given(message_answers())
def test_every_answer_is_one_of_openais(answer):
    """What a client is shown has the types of OpenAI's SDK, the texts in one message, and the tokens of the answer."""
    made = response(answer, _request(), created=1)
    told = Response.model_validate(made)
    assert told.output_text == "".join(block.get("text", "") for block in answer["content"])
    assert (told.usage.input_tokens, told.usage.input_tokens_details.cached_tokens) == (11, 6)
    assert told.status == ("incomplete" if answer["stop_reason"] in ("max_tokens", "refusal") else "completed")


@settings(max_examples=50)
@given(message_answers(), st.data())
def test_a_stream_says_what_a_whole_answer_says(answer, data):
    """However it is cut, OpenAI's SDK reads from the events what the whole answer says, and knows each event."""
    state = ResponseStreamState(input_tools=[], text_format=_NOTHING)
    events = _streamed(data.draw(as_events(answer)), _request(), answer["usage"])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        state.handle_event(_EVENTS.validate_python(event))
    ended = events[-1]["response"]
    whole = response(answer, _request(), created=1)
    assert _told(ended) == _told(whole)
    assert (ended["status"], ended["usage"]) == (whole["status"], whole["usage"])


def _told(answer: dict[str, Any]) -> Any:
    """The output without its ids; texts that follow each other are one."""
    made: list[Any] = []
    for item in answer["output"]:
        kept = {key: value for key, value in item.items() if key != "id"}
        if made and kept["type"] == made[-1]["type"] == "message":
            made[-1] = {**made[-1], "content": [*made[-1]["content"], *kept["content"]]}
        else:
            made.append(kept)
    for item in made:
        if item["type"] == "message":
            item["content"] = "".join(part["text"] for part in item["content"])
    return made


def test_what_claude_thought_comes_back_with_its_signature():
    """A client that keeps the output sends Claude's signed thoughts back; what another service thought goes."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
    answer = {"id": "m", "model": "c", "content": [thought, use], "stop_reason": "tool_use"}
    made = response(answer, _request(), created=1)["output"]
    other = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA"}
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "x"}
    sent = messages_request(_request(input=[{"role": "user", "content": "q"}, other, *made, result]), MODEL)
    assert sent["messages"][1]["content"] == [thought, use]
    assert sent["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]


def test_codexs_tools_are_called_as_it_knows_them():
    """Custom tools and those in namespaces are tools of Claude's, and called back as what they are."""
    asked = _request(tools=[PATCH, NAMESPACE])
    sent = messages_request(asked, MODEL)
    assert [tool["name"] for tool in sent["tools"]] == ["apply_patch", "files__read"]
    uses = [
        {"type": "tool_use", "id": "toolu_1", "name": "apply_patch", "input": {"input": "*** Begin"}},
        {"type": "tool_use", "id": "toolu_2", "name": "files__read", "input": {}},
    ]
    usage = {"input_tokens": 1, "output_tokens": 1}
    answer = {"id": "m", "model": "c", "content": uses, "stop_reason": "tool_use", "usage": usage}
    output = response(answer, asked, created=1)["output"]
    assert [(item["type"], item["name"], item.get("namespace")) for item in output] == [
        ("custom_tool_call", "apply_patch", None),
        ("function_call", "read", "files"),
    ]
    assert output[0]["input"] == "*** Begin"
    deltas = [{"type": "input_json_delta", "partial_json": json.dumps(use["input"])} for use in uses]
    events = [{"type": "message_start", "message": {**answer, "content": []}}]
    for i, (use, delta) in enumerate(zip(uses, deltas, strict=True)):
        events.append({"type": "content_block_start", "index": i, "content_block": {**use, "input": {}}})
        events.append({"type": "content_block_delta", "index": i, "delta": delta})
        events.append({"type": "content_block_stop", "index": i})
    ended = _streamed(events, asked, usage)[-1]["response"]["output"]
    assert [(item["type"], item["name"]) for item in ended] == [(item["type"], item["name"]) for item in output]
    assert ended[0]["input"] == "*** Begin"
    results = [
        {"type": "custom_tool_call_output", "call_id": "toolu_1", "output": "done"},
        {"type": "function_call_output", "call_id": "toolu_2", "output": "text"},
    ]
    again = messages_request(_request(input=[{"role": "user", "content": "q"}, *output, *results]), MODEL)
    assert again["messages"][1]["content"] == uses


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "file_search"}]}, "tools[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0]"),
        ({"input": ""}, "input"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(fields, param):
    """What OpenAI holds or runs is refused, for another model to be asked."""
    with pytest.raises(Untranslatable) as caught:
        messages_request(_request(**fields), MODEL)
    assert caught.value.param == param


@settings(max_examples=80)
@given(message_answers().flatmap(broken), message_answers().flatmap(as_events).flatmap(broken_events))
def test_malformed_answers_are_never_a_crash(answer, events):
    """Whatever a service answers, whole or in events, it is an answer of this API or the service's failure."""
    with suppress(UpstreamFailure):
        response(answer, _request(), created=1)
    stream = ResponseEvents(_request(), created=1)
    made = [made for event in events for made in stream.feed(event)]
    assert [*made, *stream.end(None)][-1]["type"].startswith("response.")


@settings(max_examples=80)
@given(responses_requests().flatmap(broken))
def test_malformed_requests_are_refused_as_such(document):
    """Whatever stands where the API has something else, the answer is a 4xx that names it, never a crash."""
    try:
        messages_request(document, MODEL)
    except RequestError as error:
        assert 400 <= error.status < 500


def test_an_answer_without_content_is_the_services_failure():
    """It is no answer of ours to make up."""
    with pytest.raises(UpstreamFailure):
        response({}, _request(), created=1)
