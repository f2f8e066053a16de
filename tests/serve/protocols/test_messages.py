"""Anthropic's Messages API before a real upstream: passed through to models that speak it, translated for others."""

import json
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.config.load import make_config
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.requests import read_chat

from support.messages_upstream import MessagesUpstream
from support.processes import wait_until
from support.upstream import WORDS, LocalServer, Upstream

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
TEXT = "".join(WORDS)
STRONG, WEAK = "router-random-0", "router-random-1"
KEY, OPENAI_KEY = "sk-ant-test-key", "sk-test-key"
TOOL = {"name": "weather", "description": "Weather", "input_schema": {"type": "object", "properties": {"city": {}}}}


@pytest.fixture(scope="module")
def claude() -> MessagesUpstream:
    return MessagesUpstream()


@pytest.fixture(scope="module")
def gpt() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def server(claude, gpt) -> Iterator[LocalServer]:
    """The strong model speaks Anthropic's protocol, the weak one OpenAI's."""
    with LocalServer(claude.app()) as up, LocalServer(gpt.app()) as other, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_ANTHROPIC_KEY", KEY)
        patch.setenv("TEST_OPENAI_KEY", OPENAI_KEY)
        native = {"provider": "anthropic", "base_url": f"{up.url}/v1", "api_key": "env:TEST_ANTHROPIC_KEY"}
        openais = {"base_url": f"{other.url}/v1", "api_key": "env:TEST_OPENAI_KEY"}
        once = {"retry": {"attempts": 0}}
        values = {
            "strong": "claude",
            "weak": "gpt",
            "models": {
                "claude": {**native, "model": "claude-sonnet-4-20250514"},
                "busy": {**native, **once, "model": "status-429"},
                "gpt": {**openais, "model": "gpt-4o"},
                "gpt-busy": {**openais, **once, "model": "status-429"},
                "gpt-fails": {**openais, **once, "model": "status-500"},
            },
            "routers": {"random": {}},
            "server": {"max_body_bytes": 100_000},
        }
        with LocalServer(create_app(make_config(values))) as front:
            yield front


@pytest.fixture(scope="module")
def client(server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="client-key", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made


def test_messages_are_routed_and_passed_through(client, claude):
    """Anthropic's client asks plainly: the answer, its headers and the decision arrive; keys stay where they belong."""
    raw = client.messages.with_raw_response.create(model=STRONG, max_tokens=9, messages=HELLO)
    assert raw.parse().content[0].text == TEXT
    assert (raw.headers["x-pointsman-model"], raw.headers["request-id"]) == ("claude", "req_1")
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "9"
    assert claude.last.document == {"model": "claude-sonnet-4-20250514", "max_tokens": 9, "messages": HELLO}
    assert claude.last.headers["x-api-key"] == KEY
    assert claude.last.headers["anthropic-version"] == raw.http_request.headers["anthropic-version"]
    assert "authorization" not in claude.last.headers


def test_messages_stream(client):
    """Its helper for streams sees every event, the ping among them, and the final message with its usage."""
    with client.messages.stream(model="claude", max_tokens=9, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == TEXT
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 3, 5)


def test_every_byte_but_the_models_name_passes(http, claude):
    """What coding agents send arrives as written: system arrays, cache_control, tools, thinking, images, betas."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    cached = {"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]}
    body = json.dumps({
        "model": STRONG, "max_tokens": 1e3, "system": [cached], "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}, {"type": "web_search_20250305", "name": "web"}],
        "mcp_servers": [{"type": "url", "url": "https://mcp.example.com", "name": "m"}],
        "metadata": {"user_id": "u"}, "context_management": {"edits": []}, "unknown": [1.10, None],
        "messages": [
            {"role": "user", "content": [image, {"type": "text", "text": "Weather in Paris?"}]},
            {"role": "assistant", "content": [thought, call]},
            {"role": "user", "content": [result]},
        ],
    }, indent=1).encode()  # fmt: skip
    headers = {"anthropic-beta": "one,two", "anthropic-version": "2024-01-01", "x-api-key": "client-key"}
    response = http.post("/v1/messages?beta=true", content=body, headers=headers)
    assert response.status_code == 200
    assert claude.last.body == body.replace(STRONG.encode(), b"claude-sonnet-4-20250514")
    assert (claude.last.headers["anthropic-beta"], claude.last.headers["anthropic-version"]) == (
        "one,two",
        "2024-01-01",
    )


def test_tokens_are_counted_for_every_model(client):
    """By the upstream of the model that would answer; for a model of another protocol they are counted here."""
    assert client.messages.count_tokens(model=STRONG, messages=HELLO).input_tokens == 9
    assert 0 < client.messages.count_tokens(model="gpt", messages=HELLO).input_tokens < 20


def test_an_openai_model_answers_messages(client, gpt):
    """Translated: system, text and the limit reach it, the answer and its usage come back, and no key but its own."""
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    raw = client.messages.with_raw_response.create(model=WEAK, max_tokens=9, messages=HELLO, system=system)
    answer = raw.parse()
    assert (answer.content[0].text, answer.stop_reason, answer.usage.output_tokens) == (TEXT, "end_turn", 5)
    assert raw.headers["x-pointsman-model"] == "gpt"
    document = gpt.last.document
    assert (document["model"], document["max_tokens"]) == ("gpt-4o", 9)
    assert [message["role"] for message in document["messages"]] == ["system", "user"]
    assert gpt.last.headers["authorization"] == f"Bearer {OPENAI_KEY}"
    n_asked = len(gpt.received)
    for name in ("api_key", "api_base", "mock_response", "unknown"):  # none of which is the client's to say
        with pytest.raises(anthropic.BadRequestError, match=f"{name} is"):
            client.messages.create(model="gpt", max_tokens=9, messages=HELLO, extra_body={name: "x"})
    assert len(gpt.received) == n_asked


def test_an_openai_model_streams_messages(client):
    """Translated event by event, up to message_stop."""
    with client.messages.stream(model="gpt", max_tokens=9, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == TEXT
        assert stream.get_final_message().stop_reason == "end_turn"


def test_a_client_that_hangs_up_ends_the_upstreams_stream(client, gpt):
    """A translated stream that nobody reads is not written on, either."""
    gpt.held, n_asked = True, len(gpt.received)
    try:
        with client.messages.create(model="gpt", max_tokens=9, messages=HELLO, stream=True) as stream:
            assert next(stream).type == "message_start"
        wait_until(lambda: gpt.cancelled == [n_asked])
    finally:
        gpt.held = False


def test_tools_are_translated_both_ways(client, server):
    """A tool call of an OpenAI model reaches an Anthropic client, and that of an Anthropic model an OpenAI client."""
    answer = client.messages.create(model="gpt", max_tokens=9, messages=HELLO, tools=[TOOL])
    assert (answer.stop_reason, answer.content[0].name, answer.content[0].input) == (
        "tool_use",
        "weather",
        {"city": "Paris"},
    )
    function = {"name": "weather", "parameters": TOOL["input_schema"]}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as other:
        for stream in (False, True):
            asked = other.chat.completions.create(
                model="claude", messages=HELLO, tools=[{"type": "function", "function": function}], stream=stream
            )
            parts = [chunk.choices[0].delta for chunk in asked] if stream else [asked.choices[0].message]
            calls = [call.function for part in parts for call in part.tool_calls or ()]
            assert calls[0].name == "weather"
            assert json.loads("".join(call.arguments or "" for call in calls)) == {"city": "Paris"}


def test_errors_are_in_anthropics_shape(http):
    """Upstreams' of either protocol with their Retry-After, and our own, each with its type and without any key."""
    cases = [("busy", {}, 429, "rate_limit_error"), ("gpt-busy", {}, 429, "rate_limit_error")]
    cases += [("gpt-fails", {}, 500, "api_error"), ("nobody", {}, 404, "not_found_error")]
    cases += [(STRONG, {"messages": 5}, 400, "invalid_request_error"), ("gpt", {"max_tokens": None}, 400, None)]
    cases += [(STRONG, {"system": "x" * 100_000}, 413, "request_too_large"), (5, {}, 400, "invalid_request_error")]
    for model, more, status, kind in cases:
        response = http.post("/v1/messages", json={"model": model, "max_tokens": 9, "messages": HELLO, **more})
        assert response.status_code == status, model
        document = response.json()
        assert (document["type"], document["error"]["type"]) == ("error", kind or "invalid_request_error")
        assert document["error"]["message"]
        assert KEY not in response.text
        assert OPENAI_KEY not in response.text
        if status == 429:
            assert response.headers["retry-after"] == "7"
    wrong = http.get("/v1/messages")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "error")


def test_keys_are_asked_for(tmp_path):
    """Anthropic's client shows its key as x-api-key; without a valid one it is told so in its own words."""
    keys = tmp_path / "keys.json"
    key, text = new_key("agent", requests_per_minute=1)
    write_keys(keys, {key.id: key})
    config = make_config({"routers": {"random": {}}, "server": {"keys_file": str(keys)}})
    with LocalServer(create_app(config)) as front:
        with anthropic.Anthropic(base_url=front.url, api_key="pm-wrong", max_retries=0) as stranger:
            with pytest.raises(anthropic.AuthenticationError, match="is not valid here") as caught:
                stranger.messages.create(model="auto", max_tokens=9, messages=HELLO)
            assert caught.value.body["error"]["type"] == "authentication_error"
        with anthropic.Anthropic(base_url=front.url, api_key=text, max_retries=0) as friend:
            assert "stand-in" in friend.messages.create(model="auto", max_tokens=9, messages=HELLO).content[0].text
            with pytest.raises(anthropic.RateLimitError):
                friend.messages.create(model="auto", max_tokens=9, messages=HELLO)


def test_stand_ins_answer_messages():
    """With no model configured, plain and streaming answers say that they are a stand-in's."""
    with (
        LocalServer(create_app(make_config(routers=["random"]))) as front,
        anthropic.Anthropic(base_url=front.url, api_key="x", max_retries=0) as client,
    ):
        plain = client.messages.create(model=STRONG, max_tokens=9, messages=HELLO).content[0].text
        assert "would have asked the STRONG model" in plain
        with client.messages.stream(model=STRONG, max_tokens=9, messages=HELLO) as stream:
            assert "would have asked the STRONG model" in "".join(stream.text_stream)


def prompt_of(*messages: dict) -> str:
    return read_chat(json.dumps({"model": "auto", "messages": messages}).encode()).prompt


def test_the_prompt_is_what_the_user_asked():
    """The last user turn's text; turns that hold tools' results alone are passed over, as tools' turns in chat are."""
    parts = [{"type": "image", "source": {}}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = {"role": "user", "content": parts}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "rain"}
    assistant = {"role": "assistant", "content": [{"type": "text", "text": "no"}]}
    assert prompt_of({"role": "user", "content": "Hello"}) == "Hello"
    assert prompt_of(asked, assistant, {"role": "user", "content": [result]}) == "a\nb"
    both = {"role": "user", "content": [result, {"type": "text", "text": "and now?"}]}
    assert prompt_of(asked, assistant, both) == "and now?"
    assert prompt_of({"role": "user", "content": [result]}) == ""
    with pytest.raises(RequestError, match="messages is missing"):
        read_chat(b'{"model": "auto"}')
