"""A client of Anthropic's Messages API before a service of OpenAI's chat API."""

import json
from contextlib import suppress
from typing import Any

import anthropic.types as at
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import TypeAdapter

from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.protocols.translation.messages_over_chat.answer import message
from pointsman.serve.protocols.translation.messages_over_chat.request import chat_request
from pointsman.serve.protocols.translation.messages_over_chat.service import ChatService
from pointsman.serve.protocols.translation.messages_over_chat.stream import MessageEvents
from pointsman.serve.protocols.translation.read import Untranslatable
from pointsman.serve.protocols.usage import read_usage

from support.conversations import broken, check, completions, messages_requests, texts_in

OPENAI = ChatService("max_completion_tokens", most_stops=4, takes_top_k=False)
HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("weather", "clock")]
P, T = '{"city":"Paris"}', '{"tz":"UTC"}'
_EVENTS: TypeAdapter[Any] = TypeAdapter(at.RawMessageStreamEvent)


def _request(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": HELLO, **fields}


def _streamed(chunks: list[dict[str, Any]], asked: dict[str, Any]) -> tuple[list[dict[str, Any]], at.Message]:
    """The events, each of the SDK's type, and the message that the SDK makes of them."""
    stream = MessageEvents(asked, n_input_tokens=7)
    events = [event for chunk in chunks for event in stream.feed(chunk)]
    events += stream.end(read_usage({"prompt_tokens": 10, "completion_tokens": 5}))
    snapshot, pieces = None, {}
    for event in events:
        told = _EVENTS.validate_python(event)
        snapshot = accumulate_event(event=told, current_snapshot=snapshot, json_bufs=pieces)
    return events, snapshot


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": [choice]}


@settings(max_examples=50)
@given(messages_requests())
def test_every_request_is_one_of_openais(document):
    """What is sent has the types of OpenAI's SDK and no field beside them."""
    sent = chat_request(document, OPENAI)
    check(CompletionCreateParams, sent)
    assert len(sent.get("user", "")) <= 64


@settings(max_examples=50)
@given(messages_requests())
def test_nothing_that_was_said_is_lost(document):
    """Every text of the user, of documents, of search results and of tools' results is in what is sent."""
    sent = "\0".join(texts_in(chat_request(document, OPENAI)))
    for turn in document["messages"]:
        blocks = turn["content"] if isinstance(turn["content"], list) else [{"type": "text", "text": turn["content"]}]
        for block in blocks:
            if block["type"] in ("text", "document", "search_result", "tool_result", "image"):
                spoken = {key: value for key, value in block.items() if key in ("text", "content", "source")}
                for text in _spoken(spoken):
                    assert text in sent


def _spoken(value: Any) -> list[str]:
    """Texts and data in a block, and not its types, ids and titles."""
    if isinstance(value, list):
        return [text for each in value for text in _spoken(each)]
    if not isinstance(value, dict):
        return [value] if isinstance(value, str) else []
    return [text for key in ("text", "data", "content", "source") if key in value for text in _spoken(value[key])]


@settings(max_examples=50)
@given(messages_requests())
def test_every_result_follows_its_call(document):
    """Calls are followed at once by the results of each, by ids and names that OpenAI takes."""
    messages = chat_request(document, OPENAI)["messages"]
    for i, sent in enumerate(messages):
        ids = [call["id"] for call in sent.get("tool_calls", ())]
        assert [m.get("tool_call_id") for m in messages[i + 1 : i + 1 + len(ids)]] == ids
        assert all(len(call) <= 40 for call in ids)
        assert all(len(call["function"]["name"]) <= 64 for call in sent.get("tool_calls", ()))


@settings(max_examples=50)
@given(completions())
def test_every_answer_is_one_of_anthropics(completion):
    """A client is shown the types of Anthropic's SDK, tokens that add up, and goes on where tools are called."""
    made = message(completion, _request(tools=TOOLS))
    check(at.Message, made)
    usage = made["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == 10
    calls = [block for block in made["content"] if block["type"] == "tool_use"]
    assert len({call["id"] for call in calls}) >= min(len(calls), 1)
    if completion["choices"][0]["finish_reason"] in ("stop", "tool_calls", None) and "refusal" not in str(completion):
        assert (made["stop_reason"] == "tool_use") == bool(calls)


@st.composite
def _as_chunks(draw: st.DrawFn, said: dict[str, Any]) -> list[dict[str, Any]]:
    """A message in pieces: its calls after one another, in one chunk, interleaved, or their arguments at the end."""
    chunks = [_chunk({"role": "assistant"})]
    for key in ("reasoning_content", "reasoning", "content"):
        if value := said.get(key):
            chunks += [_chunk({key: piece}) for piece in (_pieces(draw, value) if isinstance(value, str) else [value])]
    calls = [{**call, "index": i} for i, call in enumerate(said.get("tool_calls", ()))]
    shape = draw(st.sampled_from(["after", "one", "interleaved", "late", "unnumbered"]))
    heads = [{**call, "function": {"name": call["function"]["name"], "arguments": ""}} for call in calls]
    pieces = [
        [
            {"index": call["index"], "function": {"arguments": piece}}
            for piece in _pieces(draw, call["function"]["arguments"])
        ]
        for call in calls
    ]
    if shape == "one":
        chunks.append(_chunk({"tool_calls": calls}))
    elif shape == "unnumbered":
        chunks += [_chunk({"tool_calls": [{k: v for k, v in call.items() if k != "index"}]}) for call in calls]
    elif shape == "after":
        for head, rest in zip(heads, pieces, strict=True):
            chunks += [_chunk({"tool_calls": [piece]}) for piece in (head, *rest)]
    elif shape == "late":
        chunks += [_chunk({"tool_calls": [head]}) for head in heads]
        chunks += [_chunk({"tool_calls": [piece]}) for rest in pieces for piece in rest]
    else:
        chunks.append(_chunk({"tool_calls": heads}))
        while any(pieces):
            chunks += [_chunk({"tool_calls": [rest.pop(0)]}) for rest in pieces if rest]
    if said.get("refusal"):
        chunks.append(_chunk({"refusal": said["refusal"]}))
    return chunks


def _pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@settings(max_examples=120)
@given(st.data())
def test_a_stream_says_what_a_whole_answer_says(data):
    """However a message is cut, and however its calls are mixed, the SDK reads from the events what it reads whole."""
    completion = data.draw(completions())
    choice = completion["choices"][0]
    calls = choice["message"].get("tool_calls", [])
    for i, call in enumerate(calls):  # a service that gives no index tells its calls apart by their ids
        call["id"], call["function"]["arguments"] = f"call_{i}", call["function"]["arguments"].replace("{bad", "{}")
    asked = _request(tools=TOOLS)
    chunks = data.draw(_as_chunks(choice["message"]))
    events, streamed = _streamed([*chunks, _chunk({}, choice["finish_reason"])], asked)
    whole = at.Message.model_validate(message(completion, asked))
    assert streamed.stop_reason == whole.stop_reason
    assert _told(streamed) == _told(whole)
    opened = [event["index"] for event in events if event["type"] == "content_block_start"]
    closed = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert opened == closed == list(range(len(opened)))
    kinds = [event["type"] for event in events if event["type"] in ("content_block_start", "content_block_stop")]
    assert kinds == ["content_block_start", "content_block_stop"] * len(opened)


def _told(answer: at.Message) -> tuple[list[Any], ...]:
    """Thoughts and texts joined, and the calls with their arguments."""
    blocks = [block.model_dump() for block in answer.content]
    return (
        ["".join(block["thinking"] for block in blocks if block["type"] == "thinking")],
        ["".join(block["text"] for block in blocks if block["type"] == "text")],
        sorted((b["id"], b["name"], json.dumps(b["input"])) for b in blocks if b["type"] == "tool_use"),
    )


@pytest.mark.parametrize(
    "chunks",
    [
        [
            [
                {"index": 0, "id": "a", "function": {"name": "weather", "arguments": P}},
                {"index": 0, "id": "b", "function": {"name": "clock", "arguments": T}},
            ]
        ],
        [[{"function": {"name": "weather", "arguments": P}}], [{"function": {"name": "clock", "arguments": T}}]],
        [
            [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": P[:4]}}],
            [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": P[4:]}}],
            [{"index": 1, "id": "b", "function": {"name": "clock", "arguments": T}}],
        ],
        [
            [{"index": 0, "id": "a"}],
            [{"index": 0, "function": {"name": "weather"}}],
            [{"index": 0, "function": {"arguments": P}}],
            [{"index": 1, "id": "b", "function": {"name": "clock", "arguments": T}}],
        ],
        [
            [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": P}}],
            [{"index": 1, "id": "b", "function": {"name": "clock"}}],
            [{"index": 0, "function": {"arguments": ""}}],
            [{"index": 1, "function": {"arguments": T}}],
        ],
    ],
    ids=[
        "every index 0",
        "neither index nor id",
        "id and name in every piece",
        "id, name and arguments apart",
        "a piece too many",
    ],
)
def test_calls_of_odd_services_are_told_apart(chunks):
    """Services number calls wrongly, or not at all: each call is one block with its own arguments."""
    _, streamed = _streamed([_chunk({"tool_calls": calls}) for calls in chunks], _request(tools=TOOLS))
    calls = [(block.name, block.input) for block in streamed.content if block.type == "tool_use"]
    assert calls == [("weather", {"city": "Paris"}), ("clock", {"tz": "UTC"})]
    assert streamed.stop_reason == "tool_use"


def test_the_first_event_tells_the_prompt_and_the_last_one_the_usage():
    """A client that shows how full the context is reads it from the first event; the service's own counts end it."""
    events, _ = _streamed([_chunk({"content": "Hi"}, "stop")], _request())
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert events[-2]["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 5,
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"thread": {"type": "create"}}, "thread"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url", "url": "x"}]}, "mcp_servers"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"something_new": 1}, "something_new"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages[0].content[0].source",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "document",
                                "citations": {"enabled": True},
                                "source": {"type": "text", "data": "x"},
                            }
                        ],
                    }
                ]
            },
            "messages[0].content[0]",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(fields, param):
    """What would change the answer and has no word in the chat API is refused, for another model to be asked."""
    with pytest.raises(Untranslatable) as caught:
        chat_request(_request(**fields), OPENAI)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}}, {}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, {"reasoning_effort": "high"}),
        ({"temperature": 1, "top_p": 1.0}, {}),
        ({"temperature": 0.3}, {"temperature": 0.3}),
        ({"stop_sequences": ["a"]}, {"stop": ["a"]}),
        ({"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}, {}),
        (
            {"output_format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {}}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "answer",
                        "schema": {"type": "object", "properties": {"a": {}}},
                        "strict": False,
                    },
                }
            },
        ),
    ],
)
def test_what_becomes_of_parameters(fields, sent):
    """Hints are mapped, no-op values go."""
    request = chat_request(_request(**fields), OPENAI)
    for known in ("model", "messages", "max_completion_tokens"):
        del request[known]
    assert request == sent


def test_tools_that_the_client_runs_are_described():
    """Claude knows the schemas of its bash, editor and memory tools; another model is told them."""
    kinds = {
        "bash_20250124": "bash",
        "text_editor_20250728": "str_replace_based_edit_tool",
        "memory_20250818": "memory",
    }
    sent = chat_request(_request(tools=[{"type": kind, "name": name} for kind, name in kinds.items()]), OPENAI)
    assert [tool["function"]["name"] for tool in sent["tools"]] == list(kinds.values())
    check(CompletionCreateParams, sent)


def test_long_names_of_tools_are_told_as_the_client_knows_them():
    """A name beyond OpenAI's 64 characters is sent short, in tools, choice and history, and given back whole."""
    name = "mcp__server__" + "n" * 90
    used = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": name, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
    ]
    tools = [{"name": name, "input_schema": {"type": "object"}}]
    asked = _request(messages=HELLO + used, tools=tools, tool_choice={"type": "tool", "name": name})
    sent = chat_request(asked, OPENAI)
    short = sent["tools"][0]["function"]["name"]
    assert len(short) <= 64
    assert sent["tool_choice"]["function"]["name"] == sent["messages"][1]["tool_calls"][0]["function"]["name"] == short
    call = {"id": "a", "type": "function", "function": {"name": short, "arguments": "{}"}}
    completion = {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    assert message(completion, asked)["content"][0]["name"] == name


def test_reasoning_goes_back_to_services_that_want_it_alone():
    """What Claude thought stays with Claude; a service's own go back where it wants them."""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}
    for signature, kept in (("c2ln", None), ("pointsman:1", "hm")):
        turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature}, call]}
        asked = _request(messages=[*HELLO, turn, result])
        assert "reasoning_content" not in chat_request(asked, ChatService())["messages"][1]
        assert chat_request(asked, ChatService(keeps_reasoning=True))["messages"][1].get("reasoning_content") == kept


def test_an_error_of_a_tool_is_told_as_one():
    """`is_error`, for which the chat API has no field, is in the text."""
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "no such file"}
    sent = chat_request(_request(messages=[*HELLO, use, {"role": "user", "content": [result]}]), OPENAI)
    assert sent["messages"][-1]["content"] == "Error: no such file"


@settings(max_examples=80)
@given(messages_requests().flatmap(broken))
@example({"model": "m", "max_tokens": 9, "messages": [5]})
def test_malformed_requests_are_refused_as_such(document):
    """Whatever stands where the API has something else, the answer is a 4xx that names it, never a crash."""
    try:
        chat_request(document, OPENAI)
    except RequestError as error:
        assert 400 <= error.status < 500


@settings(max_examples=80)
@given(completions().flatmap(broken))
def test_malformed_answers_are_never_a_crash(completion):
    """Whatever a service answers, it is a message or the service's failure, whole and as a chunk of a stream."""
    with suppress(UpstreamFailure):
        message(completion, _request(tools=TOOLS))
    stream = MessageEvents(_request(tools=TOOLS), n_input_tokens=1)
    choices = completion.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and "message" in choice:
            choice["delta"] = choice.pop("message")
    assert [*stream.feed(completion), *stream.end(None)][-1] == {"type": "message_stop"}


@pytest.mark.parametrize(
    "completion", [{}, {"choices": []}, {"choices": [5]}, {"choices": [{"message": None}]}, {"choices": 5}]
)
def test_an_answer_without_a_message_is_the_services_failure(completion):
    """It is no answer of ours to make up."""
    with pytest.raises(UpstreamFailure):
        message(completion, _request())
