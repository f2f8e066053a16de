"""Requests and answers of the three APIs, drawn, and the checks of the public SDKs' types over what is made of them."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import signature
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

__all__ = [
    "as_events",
    "broken",
    "broken_events",
    "chat_requests",
    "check",
    "completions",
    "message_answers",
    "messages_requests",
    "responses_requests",
    "texts_in",
]

LETTERS = st.text('abc é"\\\n{}', min_size=1, max_size=12).filter(str.strip)
NAMES = st.sampled_from(["weather", "clock", "mcp__files__" + "long_" * 14 + "name"])
IDS = st.sampled_from(["call_1", "toolu_2", "functions.get:3", "x" * 60])
# Pydantic can forbid unknown fields from 2.12 on.
_STRICT: dict[str, Any] = {"extra": "forbid"} if "extra" in signature(TypeAdapter.validate_python).parameters else {}
OBJECTS = st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(0, 9), LETTERS), max_size=2)
IMAGE = "iVBORw0KGgo="


def check(kind: Any, value: Any) -> Any:
    """Validates a value against an SDK's type, no unknown fields, and every lazily read array to its end."""
    return _read(_adapter(kind).validate_python(value, **_STRICT))


@cache  # which keeps it: arrays are validated as they are read
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _read(each) for key, each in value.items()}
    if isinstance(value, (str, bytes, int, float, type(None))) or not hasattr(value, "__iter__"):
        return value
    return [_read(each) for each in value]


def texts_in(value: Any) -> Iterator[str]:
    """Every string in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)


@st.composite
def broken(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A document with one value, at any depth, replaced by one of another type."""
    key = draw(st.sampled_from(sorted(document)))
    return {**document, key: draw(_replaced(document[key]))}


@st.composite
def broken_events(draw: st.DrawFn, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of which one has a value of another type, or is missing."""
    i = draw(st.integers(0, len(events) - 1))
    return [*events[:i], *draw(st.sampled_from([[], [draw(broken(events[i]))]])), *events[i + 1 :]]


@st.composite
def _replaced(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        return draw(broken(value))
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        i = draw(st.integers(0, len(value) - 1))
        return [*value[:i], draw(_replaced(value[i])), *value[i + 1 :]]
    return draw(st.sampled_from([None, 5, "x", [], {}, [5], [None], {"type": 5}, {"type": []}, True, -1]))


def _said(text: st.SearchStrategy[str] = LETTERS) -> st.SearchStrategy[dict[str, Any]]:
    return text.map(lambda said: {"type": "text", "text": said})


def _image_blocks() -> st.SearchStrategy[dict[str, Any]]:
    sources = [
        {"type": "base64", "media_type": "image/png", "data": IMAGE},
        {"type": "url", "url": "https://example.org/a.png"},
    ]
    return st.sampled_from([{"type": "image", "source": source} for source in sources])


@st.composite
def _documents(draw: st.DrawFn) -> dict[str, Any]:
    sources = st.one_of(
        LETTERS.map(lambda text: {"type": "text", "media_type": "text/plain", "data": text}),
        LETTERS.map(lambda text: {"type": "content", "content": text}),
        st.lists(_said(), min_size=1, max_size=2).map(lambda parts: {"type": "content", "content": parts}),
        st.just({"type": "base64", "media_type": "application/pdf", "data": IMAGE}),
    )
    title = draw(st.sampled_from([{}, {"title": "A title"}]))
    return {"type": "document", "source": draw(sources), **title}


def _search_results() -> st.SearchStrategy[dict[str, Any]]:
    content = st.lists(_said(), min_size=1, max_size=2)
    head = {"type": "search_result", "source": "https://example.org", "title": "Found"}
    return content.map(lambda parts: {**head, "content": parts})


def _user_blocks() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(_said(), _image_blocks(), _documents(), _search_results())


@st.composite
def _loop(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An answer with thoughts, texts and calls, and the turn that brings their results."""
    thoughts = draw(st.sampled_from([[], [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]]))
    texts = draw(st.lists(_said(), max_size=2))
    ids = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    calls = [{"type": "tool_use", "id": i, "name": draw(NAMES), "input": draw(OBJECTS)} for i in ids]
    results = []
    for i in ids:
        content = draw(st.one_of(LETTERS, st.lists(_user_blocks(), max_size=2)))
        result = {"type": "tool_result", "tool_use_id": i, "content": content}
        results.append({**result, **draw(st.sampled_from([{}, {"is_error": True}]))})
    further = draw(st.lists(_said(), max_size=1))
    return [
        {"role": "assistant", "content": [*thoughts, *texts, *calls]},
        {"role": "user", "content": results + further},
    ]


@st.composite
def messages_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests of the Messages API that can be put in other words."""
    first = {"role": "user", "content": draw(st.one_of(LETTERS, st.lists(_user_blocks(), min_size=1, max_size=3)))}
    turns = [first, *(turn for loop in draw(st.lists(_loop(), max_size=2)) for turn in loop)]
    tools = [
        {"name": name, "description": "d", "input_schema": {"type": "object"}}
        for name in draw(st.sets(NAMES, max_size=2))
    ]
    optional = {
        "system": st.one_of(LETTERS, st.lists(_said(), min_size=1, max_size=2)),
        "temperature": st.sampled_from([0, 0.5, 1]),
        "top_p": st.sampled_from([0.5, 1]),
        "top_k": st.integers(1, 9),
        "stop_sequences": st.lists(LETTERS, max_size=4),
        "thinking": st.sampled_from(
            [{"type": "adaptive"}, {"type": "disabled"}, {"type": "enabled", "budget_tokens": 2048}]
        ),
        "metadata": st.sampled_from([{"user_id": "u" * 99}, {}]),
        "stream": st.booleans(),
        "tool_choice": st.sampled_from([{"type": "any"}, {"type": "auto", "disable_parallel_tool_use": True}]),
        "context_management": st.just({"edits": []}),
        "service_tier": st.just("auto"),
    }
    chosen = draw(st.fixed_dictionaries({}, optional=optional))
    return {"model": "m", "max_tokens": 99, "messages": turns, **chosen, **({"tools": tools} if tools else {})}


@st.composite
def chat_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests of the chat API that can be put in other words."""
    parts = st.one_of(
        _said(),
        st.sampled_from(
            [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{IMAGE}"}},
            ]
        ),
    )
    messages: list[dict[str, Any]] = draw(
        st.lists(
            st.builds(
                lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "developer"]), LETTERS
            ),
            max_size=2,
        )
    )
    messages.append({"role": "user", "content": draw(st.one_of(LETTERS, st.lists(parts, min_size=1, max_size=3)))})
    for _ in range(draw(st.integers(0, 2))):
        ids = draw(st.lists(IDS, max_size=3, unique=True))
        arguments = st.one_of(OBJECTS.map(json.dumps), st.just(""), st.just("{bad"))
        calls = [
            {"id": i, "type": "function", "function": {"name": draw(NAMES), "arguments": draw(arguments)}} for i in ids
        ]
        answer = {"role": "assistant", "content": draw(st.one_of(st.none(), LETTERS) if ids else LETTERS)}
        messages.append({**answer, **({"tool_calls": calls} if calls else {})})
        messages += [{"role": "tool", "tool_call_id": i, "content": draw(LETTERS)} for i in ids]
        messages.append({"role": "user", "content": draw(LETTERS)})
    tools = [
        {
            "type": "function",
            "function": {"name": name, "parameters": {"type": "object", "properties": {}}, "strict": True},
        }
        for name in draw(st.sets(NAMES, max_size=2))
    ]
    optional = {
        "max_tokens": st.integers(1, 9999),
        "max_completion_tokens": st.integers(1, 9999),
        "temperature": st.sampled_from([0, 0.5, 1, 2]),
        "top_p": st.sampled_from([0.5, 1]),
        "stop": st.one_of(st.just("x"), st.just(["a", "b"])),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
        "user": st.sampled_from(["u", "u" * 300]),
        "stream": st.booleans(),
        "parallel_tool_calls": st.booleans(),
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "response_format": st.sampled_from(
            [
                {"type": "text"},
                {"type": "json_object"},
                {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "a",
                        "schema": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}},
                    },
                },
            ]
        ),
        "frequency_penalty": st.just(0),
        "presence_penalty": st.just(0.0),
        "logprobs": st.just(False),
        "logit_bias": st.just({}),
        "seed": st.integers(0, 9),
        "n": st.just(1),
        "verbosity": st.just("low"),
    }
    chosen = draw(st.fixed_dictionaries({}, optional=optional))
    return {"model": "m", "messages": messages, **chosen, **({"tools": tools} if tools else {})}


@st.composite
def responses_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests of the Responses API that can be put in other words."""
    parts = st.one_of(
        LETTERS.map(lambda text: {"type": "input_text", "text": text}),
        st.just({"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}", "detail": "auto"}),
        st.just({"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{IMAGE}"}),
    )
    items: list[dict[str, Any]] = [{"role": "user", "content": draw(st.one_of(LETTERS, st.lists(parts, min_size=1)))}]
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.booleans()):
            items.append({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"})
        for i in draw(st.lists(IDS, max_size=3, unique=True)):
            name = draw(NAMES)
            if draw(st.booleans()):
                items.append({"type": "function_call", "call_id": i, "name": name, "arguments": "{}"})
                items.append({"type": "function_call_output", "call_id": i, "output": draw(LETTERS)})
            else:
                items.append({"type": "custom_tool_call", "call_id": i, "name": name, "input": draw(LETTERS)})
                items.append({"type": "custom_tool_call_output", "call_id": i, "output": draw(LETTERS)})
        said = {"type": "output_text", "text": draw(LETTERS), "annotations": []}
        items.append({"type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [said]})
        items.append({"type": "message", "role": "user", "content": draw(LETTERS)})
    tools: list[dict[str, Any]] = [
        {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True},
        {
            "type": "custom",
            "name": "apply_patch",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
        },
        {"type": "namespace", "name": "files", "description": "d", "tools": [{"type": "function", "name": "read"}]},
        {"type": "web_search"},
    ]
    optional = {
        "instructions": LETTERS,
        "max_output_tokens": st.integers(1, 9999),
        "temperature": st.sampled_from([0, 1, 2]),
        "store": st.booleans(),
        "stream": st.booleans(),
        "reasoning": st.sampled_from([{"effort": "high", "summary": "auto"}, {}]),
        "include": st.just(["reasoning.encrypted_content"]),
        "text": st.sampled_from([{"verbosity": "low"}, {"format": {"type": "json_object"}}]),
        "parallel_tool_calls": st.booleans(),
        "tool_choice": st.sampled_from(["auto", "required", {"type": "function", "name": "weather"}]),
        "tools": st.lists(st.sampled_from(tools), unique_by=lambda tool: tool["type"]),
        "metadata": st.just({"a": "b"}),
    }
    chosen = draw(st.fixed_dictionaries({}, optional=optional))
    return {"model": "m", "input": draw(st.one_of(LETTERS, st.just(items))), **chosen}


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """Chat completions, of OpenAI's kind and of those that services make of it."""
    content = st.one_of(
        st.none(),
        LETTERS,
        st.lists(
            st.one_of(_said(), LETTERS.map(lambda t: {"type": "thinking", "thinking": [{"type": "text", "text": t}]})),
            max_size=2,
        ),
    )
    said: dict[str, Any] = {"role": "assistant", "content": draw(content)}
    said |= draw(st.sampled_from([{}, {"reasoning_content": "hm"}, {"reasoning": "well"}, {"refusal": "no"}]))
    arguments = st.one_of(OBJECTS.map(json.dumps), st.just(""), st.just("{bad"))
    calls = [
        {
            "id": draw(st.one_of(IDS, st.none())),
            "type": "function",
            "function": {"name": draw(NAMES), "arguments": draw(arguments)},
        }
        for _ in range(draw(st.integers(0, 3)))
    ]
    if calls:
        said["tool_calls"] = calls
    finish = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter", None, "eos"]))
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    usage |= draw(st.sampled_from([{}, {"prompt_tokens_details": {"cached_tokens": 4}}]))
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt"}
    return {**head, "choices": [{"index": 0, "message": said, "finish_reason": finish}], "usage": usage}


@st.composite
def message_answers(draw: st.DrawFn) -> dict[str, Any]:
    """Messages as a service of Anthropic's protocol answers."""
    block = st.one_of(
        _said(),
        LETTERS.map(lambda text: {"type": "thinking", "thinking": text, "signature": "c2ln"}),
        st.just({"type": "redacted_thinking", "data": "ZGF0YQ=="}),
        st.builds(lambda name, given: {"type": "tool_use", "name": name, "input": given}, NAMES, OBJECTS),
    )
    blocks = draw(st.lists(block, max_size=4))
    content = [b | ({"id": f"toolu_{i}"} if b["type"] == "tool_use" else {}) for i, b in enumerate(blocks)]
    usage = {"input_tokens": 3, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 6, "output_tokens": 5}
    usage |= draw(st.sampled_from([{}, {"output_tokens_details": {"thinking_tokens": 2}}]))
    stop = draw(st.sampled_from(["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal", "pause_turn"]))
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
    return {**head, "content": content, "stop_reason": stop, "usage": usage}


@st.composite
def as_events(draw: st.DrawFn, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """A message as the events of a stream, its texts cut anywhere."""
    usage = {**answer["usage"], "output_tokens": 1}
    start = {**answer, "content": [], "stop_reason": None, "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for i, block in enumerate(answer["content"]):
        empty = {**block, **{key: "" for key in ("text", "thinking", "signature") if key in block}}
        if block["type"] == "tool_use":
            empty["input"] = {}
        events.append({"type": "content_block_start", "index": i, "content_block": empty})
        for kind, text in _deltas(block):
            cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=2)))
            for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True):
                delta = {"type": kind[0], kind[1]: text[a:b]}
                events.append({"type": "content_block_delta", "index": i, "delta": delta})
        events.append({"type": "content_block_stop", "index": i})
    end = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    told = {key: value for key, value in answer["usage"].items() if key.startswith("output")}
    return [*events, {"type": "message_delta", "delta": end, "usage": told}, {"type": "message_stop"}]


def _deltas(block: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    if block["type"] == "text":
        yield ("text_delta", "text"), block["text"]
    elif block["type"] == "thinking":
        yield ("thinking_delta", "thinking"), block["thinking"]
        yield ("signature_delta", "signature"), block["signature"]
    elif block["type"] == "tool_use" and block["input"]:
        yield ("input_json_delta", "partial_json"), json.dumps(block["input"])
