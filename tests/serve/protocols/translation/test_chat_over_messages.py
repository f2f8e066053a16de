"""A client of OpenAI's chat API before a service of Anthropic's Messages API."""

import json
from contextlib import suppress
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.protocols.translation.chat_over_messages.answer import completion
from pointsman.serve.protocols.translation.chat_over_messages.request import messages_request
from pointsman.serve.protocols.translation.chat_over_messages.stream import CompletionChunks
from pointsman.serve.protocols.translation.messages_over_chat.request import chat_request
from pointsman.serve.protocols.translation.messages_over_chat.service import ChatService
from pointsman.serve.protocols.translation.read import Untranslatable
from pointsman.serve.protocols.usage import read_usage

from support.conversations import as_events, broken, broken_events, chat_requests, check, message_answers, texts_in

NEW, OLD = "claude-opus-4-8", "claude-sonnet-4"
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
_CHUNKS: TypeAdapter[Any] = TypeAdapter(ChatCompletionChunk)


def _request(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO, **fields}


@settings(max_examples=50)
@given(chat_requests(), st.sampled_from([NEW, OLD, "claude-haiku-4-5", "claude-3-5-haiku-latest", "own"]))
def test_every_request_is_one_of_anthropics(document, model):
    """What is sent has the types of Anthropic's SDK and no field beside them, for old models and new ones."""
    sent = messages_request(document, model)
    sent.pop("stream", None)
    if model != NEW:  # the newest models and the SDK's types of today know no sampling
        sent.pop("temperature", None)
        sent.pop("top_p", None)
    check(MessageCreateParamsBase, sent)
    roles = [turn["role"] for turn in sent["messages"]]
    assert roles == [("user", "assistant")[i % 2] for i in range(len(roles))]
    assert len(sent.get("metadata", {}).get("user_id", "")) <= 256


@settings(max_examples=50)
@given(chat_requests())
def test_nothing_that_was_said_is_lost(document):
    """Every text of a message, a result and a part is sent, and each call has its result in the next turn."""
    sent = messages_request(document, NEW)
    told = "\0".join(texts_in(sent))
    for message in document["messages"]:
        content = message["content"]
        parts = content if isinstance(content, list) else [{"text": content or ""}]
        assert all(part.get("text", "").strip() in told for part in parts)
    for i, turn in enumerate(sent["messages"]):
        calls = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        if calls:
            after = sent["messages"][i + 1]["content"]
            assert [block.get("tool_use_id") for block in after[: len(calls)]] == calls


@settings(max_examples=100)
@given(st.lists(st.text("abc \n", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=3))
def test_there_and_back_says_the_same(texts):
    """A conversation of texts and calls, put in Anthropic's words and back, is what it was."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "s"}, {"role": "user", "content": texts[0]}]
    for i, text in enumerate(texts):
        function = {"name": "weather", "arguments": '{"city":"Paris"}'}
        call = {"id": f"call_{i}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": text, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"call_{i}", "content": text})
    there = messages_request(_request(messages=messages, tools=[TOOL], max_tokens=9), NEW)
    back = chat_request(there, ChatService())
    assert back["messages"] == messages
    assert back["tools"] == [TOOL]


@settings(max_examples=50)
@given(message_answers())
def test_every_answer_is_one_of_openais(answer):
    """What a client is shown has the types of OpenAI's SDK, the fields that its API always has, and its tokens."""
    made = completion(answer, _request(), created=1)
    told = json.loads(json.dumps(made))
    for key in ("reasoning_content", "thinking_blocks"):  # which other services of this API have, too
        told["choices"][0]["message"].pop(key, None)
    check(ChatCompletion, told)
    choice = made["choices"][0]
    assert {"role", "content", "refusal"} <= set(choice["message"])
    assert set(choice) == {"index", "message", "logprobs", "finish_reason"}
    assert (made["usage"]["prompt_tokens"], made["usage"]["total_tokens"]) == (11, 16)
    assert made["usage"]["prompt_tokens_details"] == {"cached_tokens": 6, "cache_write_tokens": 2}


@settings(max_examples=80)
@given(message_answers().flatmap(broken), message_answers().flatmap(as_events).flatmap(broken_events))
def test_malformed_answers_are_never_a_crash(answer, events):
    """Whatever a service answers, whole or in events, it is an answer of this API or the service's failure."""
    with suppress(UpstreamFailure):
        completion(answer, _request(), created=1)
    stream = CompletionChunks(_request(), created=1)
    made = [made for event in events for made in stream.feed(event)]
    assert [*made, *stream.end(None)][-1]["choices"] == []


@settings(max_examples=80)
@given(message_answers(), st.data())
def test_a_stream_says_what_a_whole_answer_says(answer, data):
    """However it is cut, OpenAI's SDK reads from the chunks what it reads from the whole answer."""
    stream, state = CompletionChunks(_request(), created=1), ChatCompletionStreamState()
    chunks = [chunk for event in data.draw(as_events(answer)) for chunk in stream.feed(event)]
    chunks += stream.end(read_usage(answer["usage"]))
    for chunk in chunks:
        state.handle_chunk(_CHUNKS.validate_python(chunk))
    assert all("finish_reason" in choice for chunk in chunks for choice in chunk["choices"])
    assert [chunk["choices"] for chunk in chunks if chunk["usage"]] == [[]]
    streamed = state.current_completion_snapshot.model_dump()
    whole = ChatCompletion.model_validate(completion(answer, _request(), created=1)).model_dump()
    for told in (streamed, whole):
        message = told["choices"][0]["message"]
        message["content"] = message["content"] or ""
        message["tool_calls"] = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message["tool_calls"] or ()
        ]
        for block in message.get("thinking_blocks") or ():
            block.pop("index", None)
        message.pop("parsed", None)
    assert streamed["choices"][0]["message"].pop("reasoning_content", None) or not whole["choices"][0]["message"].get(
        "reasoning_content"
    )
    whole["choices"][0]["message"].pop("reasoning_content", None)
    assert streamed["choices"][0]["message"] == whole["choices"][0]["message"]
    assert streamed["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


@pytest.mark.parametrize("stop_details", [None, {"type": "refusal", "category": "cyber", "explanation": "not that"}])
def test_a_refusal_is_told_as_one(stop_details):
    """Anthropic's refusal ends with content_filter, and its explanation is OpenAI's `refusal`, whole and streamed."""
    answer = {"id": "m", "model": "c", "content": [], "stop_reason": "refusal", "stop_details": stop_details}
    choice = completion(answer, _request(), created=1)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["refusal"]) == (
        "content_filter",
        stop_details and stop_details["explanation"],
    )
    stream = CompletionChunks(_request(), created=1)
    delta = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": stop_details}, "usage": {}}
    chunks = [*stream.feed({"type": "message_start", "message": answer}), *stream.feed(delta), *stream.end(None)]
    said = "".join(c["choices"][0]["delta"].get("refusal") or "" for c in chunks if c["choices"])
    assert said == (stop_details["explanation"] if stop_details else "")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"stop": "\n"}, "stop"),
        ({"stop": ["x", " "]}, "stop"),
        ({"tools": [{"type": "mcp"}]}, "tools[0]"),
        ({"min_p": 0.1}, "min_p"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "messages[0].content[0].file",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(fields, param):
    """What would change the answer and has no word in the Messages API is refused, for another model to be asked."""
    with pytest.raises(Untranslatable) as caught:
        messages_request(_request(**fields), NEW)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 1.7}, {}),
        ({"temperature": 1.0, "top_p": 1}, {}),
        ({"stop": ["a", ""]}, {"stop_sequences": ["a"]}),
        ({"reasoning_effort": "xhigh"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"tools": [TOOL], "parallel_tool_calls": False},
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "weather"}}],
                    },
                },
            },
            {"tool_choice": {"type": "any"}},
        ),
        ({"tool_choice": "auto"}, {}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        (
            {"response_format": {"type": "json_object"}},
            {
                "system": [
                    {
                        "type": "text",
                        "text": "Answer with one JSON object and nothing else: no prose around it, no code fence.",
                    }
                ]
            },
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
    ],
)
def test_what_becomes_of_parameters(fields, sent):
    """Each is written in Anthropic's words, hints are mapped, no-op values go."""
    request = messages_request(_request(**{"max_tokens": 32_000, **fields}), NEW)
    for known in ("model", "messages", "tools"):
        request.pop(known, None)
    assert request == {"max_tokens": 32_000, **sent}


@pytest.mark.parametrize(("model", "told"), [(OLD, 1), ("own", 1), (NEW, None), ("claude-sonnet-5", None)])
def test_a_temperature_is_told_to_models_that_take_one(model, told):
    """It is at most 1 there, and the newest models take none."""
    assert messages_request(_request(temperature=1.7), model).get("temperature") == told


@pytest.mark.parametrize(
    ("model", "fields", "thinks"),
    [
        ("claude-sonnet-4-5", {}, True),
        ("claude-3-5-sonnet-latest", {}, False),
        ("claude-sonnet-4-5", {"temperature": 0}, False),
        ("claude-sonnet-4-5", {"max_tokens": 1000}, False),
        ("claude-sonnet-4-5", {"tools": [TOOL], "tool_choice": "required"}, False),
    ],
)
def test_a_hint_to_think_gives_way_to_what_was_asked_for(model, fields, thinks):
    """A model that thinks by a budget may do so where temperature, forced tool and limit allow it."""
    assert ("thinking" in messages_request(_request(reasoning_effort="high", **fields), model)) == thinks


def test_tools_stay_the_clients_where_an_answer_is_held_to_a_schema():
    """A schema is the answer's form: no tool is forced for it; an old model is told it, a new one held to it."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    for model in (OLD, NEW):
        sent = messages_request(_request(tools=[TOOL], response_format=form), model)
        assert [tool["name"] for tool in sent["tools"]] == ["weather"]
        assert "tool_choice" not in sent
        assert ("output_config" in sent, "system" in sent) == (model == NEW, model == OLD)
    held = sent["output_config"]["format"]["schema"]
    assert held["additionalProperties"] is False
    assert held["properties"]["n"] == {"type": "integer", "description": "{minimum: 1}"}


def test_instructions_alone_are_the_question():
    """The chat API answers a system message alone; the Messages API wants a turn of the user."""
    sent = messages_request({"model": "m", "messages": [{"role": "system", "content": "Say hi."}]}, NEW)
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]
    with pytest.raises(Untranslatable, match="hold no text"):
        messages_request({"model": "m", "messages": [{"role": "user", "content": " "}]}, NEW)


def test_what_claude_thought_comes_back_with_its_signature():
    """A client that keeps an answer's message sends Claude's signed thoughts back, before the calls."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
    answer = {"id": "m", "model": "c", "content": [thought, use], "stop_reason": "tool_use"}
    kept = completion(answer, _request(), created=1)["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "mild"}
    sent = messages_request(_request(messages=[*HELLO, kept, result], tools=[TOOL]), NEW)
    assert sent["messages"][1]["content"] == [thought, use]


def test_custom_tools_take_a_text():
    """A custom tool is one with a text for Claude, and called as a custom tool for the client, whole and streamed."""
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    asked = _request(tools=[{"type": "custom", "custom": {"name": "patch", "description": "d", "format": grammar}}])
    tool = messages_request(asked, NEW)["tools"][0]
    assert tool["input_schema"]["required"] == ["input"]
    assert "start: x" in tool["description"]
    use = {"type": "tool_use", "id": "toolu_1", "name": "patch", "input": {"input": "***"}}
    answer = {"id": "m", "model": "c", "content": [use], "stop_reason": "tool_use"}
    wanted = {"id": "toolu_1", "type": "custom", "custom": {"name": "patch", "input": "***"}}
    message = completion(answer, asked, created=1)["choices"][0]["message"]
    assert message["tool_calls"] == [wanted]
    stream = CompletionChunks(asked, created=1)
    events = [
        {"type": "message_start", "message": {**answer, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {**use, "input": {}}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '{"input": "***"}'},
        },
        {"type": "content_block_stop", "index": 0},
    ]
    deltas = [chunk["choices"][0]["delta"] for event in events for chunk in stream.feed(event)]
    assert [delta["tool_calls"] for delta in deltas if "tool_calls" in delta] == [[{"index": 0, **wanted}]]
    again = messages_request(_request(messages=[*HELLO, message], tools=asked["tools"]), NEW)
    assert again["messages"][1]["content"] == [use]


def test_functions_of_the_old_kind_are_tools():
    """`functions` and `function_call` are told as tools, their calls and results paired by name."""
    function = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    call = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    messages = [*HELLO, call, {"role": "function", "name": "weather", "content": "mild"}]
    sent = messages_request(_request(messages=messages, functions=[function], function_call={"name": "weather"}), NEW)
    check(MessageCreateParamsBase, sent)
    assert sent["tool_choice"] == {"type": "tool", "name": "weather"}
    assert sent["messages"][2]["content"][0]["tool_use_id"] == sent["messages"][1]["content"][0]["id"]


def test_a_conversation_that_called_tools_names_them():
    """Anthropic wants tools that were called to be known; where a client names none, none may be called."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
    ]
    sent = messages_request(_request(messages=messages), NEW)
    assert ([tool["name"] for tool in sent["tools"]], sent["tool_choice"]) == (["weather"], {"type": "none"})


@settings(max_examples=80)
@given(chat_requests().flatmap(broken))
def test_malformed_requests_are_refused_as_such(document):
    """Whatever stands where the API has something else, the answer is a 4xx that names it, never a crash."""
    try:
        messages_request(document, OLD)
    except RequestError as error:
        assert 400 <= error.status < 500


@pytest.mark.parametrize("answer", [{}, {"content": None}, {"content": "text"}])
def test_an_answer_without_content_is_the_services_failure(answer):
    """It is no answer of ours to make up."""
    with pytest.raises(UpstreamFailure):
        completion(answer, _request(), created=1)
