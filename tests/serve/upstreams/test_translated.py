"""Models behind LiteLLM: an upstream that speaks Anthropic's protocol answers in OpenAI's."""

import asyncio
import json
import sys

import anthropic
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pointsman.core.decision import Decision
from pointsman.core.errors import MissingExtraError
from pointsman.serve import create_app
from pointsman.serve.config import TimeoutConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.config.secret import Secret
from pointsman.serve.upstreams.base import Call
from pointsman.serve.upstreams.providers import Target
from pointsman.serve.upstreams.translated.litellm import LiteLLMUpstream, require_litellm

from support.upstream import WORDS, LocalServer, Upstream

HELLO = [{"role": "user", "content": "Hello"}]
KEY = "sk-ant-test-key"
received = []


async def messages(request: Request) -> Response:
    """What Anthropic's API answers."""
    document = await request.json()
    received.append((dict(request.headers), document))
    if document["model"] == "overloaded":
        error = {"type": "error", "error": {"type": "rate_limit_error", "message": f"slow down, {KEY}"}}
        return JSONResponse(error, 429)
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": document["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    if not document.get("stream"):
        return JSONResponse({**answer, "content": [{"type": "text", "text": "Hello!"}], "stop_reason": "end_turn"})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    events = [
        {"type": "message_start", "message": answer},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo!"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return StreamingResponse(iter(lines), media_type="text/event-stream")


@pytest.fixture(scope="module")
def client():
    app = Starlette(routes=[Route("/v1/messages", messages, methods=["POST"])])
    with LocalServer(app) as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_ANTHROPIC_KEY", KEY)
        model = {"provider": "litellm", "base_url": service.url, "api_key": "env:TEST_ANTHROPIC_KEY"}
        values = {
            "strong": "claude",
            "weak": "busy",
            "models": {
                "claude": {**model, "model": "anthropic/claude-sonnet-4-20250514"},
                "busy": {**model, "model": "anthropic/overloaded"},
            },
            "routers": {"random": {}},
        }
        with (
            LocalServer(create_app(make_config(values))) as front,
            openai.OpenAI(base_url=f"{front.url}/v1", api_key="x", max_retries=0) as made,
        ):
            yield made


@pytest.mark.filterwarnings("ignore")  # LiteLLM's own
def test_an_anthropic_model_answers_chat_completions(client):
    """A plain answer, its usage and its key arrive; what a request must not choose is not passed to LiteLLM."""
    extra = {"api_key": "evil", "api_base": "http://127.0.0.1:9", "mock_response": "evil", "unknown": 1}
    raw = client.chat.completions.with_raw_response.create(
        model="router-random-0", messages=HELLO, max_tokens=5, extra_body=extra
    )
    assert raw.parse().choices[0].message.content == "Hello!"
    assert raw.parse().usage.total_tokens == 4
    assert raw.headers["x-pointsman-model"] == "claude"
    headers, document = received[-1]
    assert headers["x-api-key"] == KEY
    assert (document["max_tokens"], document["model"]) == (5, "claude-sonnet-4-20250514")


@pytest.mark.filterwarnings("ignore")
def test_hints_that_the_provider_does_not_know_are_dropped(client):
    """No-op values and hints are no reason for LiteLLM to refuse; what changes the answer still is one."""
    idle = {"presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "n": 1, "logprobs": False}
    hints = {"seed": 1, "store": True, "verbosity": "low", "prompt_cache_key": "k", "service_tier": "auto"}
    answer = client.chat.completions.create(model="claude", messages=HELLO, max_tokens=5, extra_body={**idle, **hints})
    assert answer.choices[0].message.content == "Hello!"
    with pytest.raises(openai.BadRequestError, match="frequency_penalty"):
        client.chat.completions.create(model="claude", messages=HELLO, frequency_penalty=0.5)


@pytest.mark.filterwarnings("ignore")
def test_an_anthropic_model_streams(client):
    """Its events arrive as chat completion chunks."""
    stream = client.chat.completions.create(model="claude", messages=HELLO, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "Hello!"


@pytest.mark.filterwarnings("ignore")
def test_an_anthropic_error_keeps_its_status(client):
    """Rate limits arrive as such, in OpenAI's shape and without the key."""
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="busy", messages=HELLO)
    assert "slow down" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.fixture(scope="module")
def openais():
    """A client of a server that asks an OpenAI-protocol upstream through LiteLLM, and that upstream."""
    upstream = Upstream()
    with LocalServer(upstream.app()) as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_OPENAI_KEY", KEY)
        model = {"provider": "litellm", "base_url": f"{service.url}/v1", "api_key": "env:TEST_OPENAI_KEY"}
        models = {"big": {**model, "model": "hosted_vllm/m"}, "vectors": {**model, "model": "openai/text-embedding-3"}}
        models["big"]["headers"] = {"x-team": "routing"}
        values = {"strong": "big", "weak": "vectors", "models": models, "routers": {"random": {}}}
        with (
            LocalServer(create_app(make_config(values))) as front,
            openai.OpenAI(base_url=f"{front.url}/v1", api_key="x", max_retries=0) as made,
        ):
            yield made, upstream


@pytest.mark.filterwarnings("ignore")
def test_embeddings_go_through_litellm(openais):
    """With the parameters of OpenAI's API, and none of LiteLLM's own."""
    client, upstream = openais
    extra = {"api_key": "evil", "api_base": "http://127.0.0.1:9", "mock_response": "evil"}
    answer = client.embeddings.create(model="vectors", input="Hello", encoding_format="float", extra_body=extra)
    assert answer.data[0].embedding == [0.5, -0.5]
    assert upstream.last.document == {"model": "text-embedding-3", "input": "Hello", "encoding_format": "float"}
    assert upstream.last.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.filterwarnings("ignore")
def test_messages_go_through_litellm(openais):
    """Plain, streaming and with tools, to a provider that does not speak that protocol, with the configured headers."""
    opened, upstream = openais
    with anthropic.Anthropic(base_url=str(opened.base_url).removesuffix("/v1/"), api_key="x", max_retries=0) as client:
        tool = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
        answer = client.messages.create(model="big", max_tokens=9, messages=HELLO, tools=[tool])
        assert (answer.content[0].name, answer.content[0].input) == ("weather", {"city": "Paris"})
        with client.messages.stream(model="router-random-0", max_tokens=9, messages=HELLO) as stream:
            assert "".join(stream.text_stream) == "".join(WORDS)
    assert upstream.last.headers["x-team"] == "routing"


def test_the_responses_api_does_not_go_through_litellm(openais):
    """It says where the model is served instead."""
    with pytest.raises(openai.NotFoundError, match="not served on /v1/responses, but on /v1/chat/completions"):
        openais[0].responses.create(model="big", input="Hello")


def test_without_litellm_the_extra_is_named(monkeypatch):
    """A model that needs LiteLLM says what to install."""
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"pointsman\[litellm\]\""):
        require_litellm()


async def test_litellm_follows_no_redirect():
    """Neither of the clients that it makes hands prompts and keys on to the host that a redirect names."""
    require_litellm()
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
    from litellm.llms.openai.common_utils import BaseOpenAILLM

    for client in (AsyncHTTPHandler().client, BaseOpenAILLM._get_async_http_client()):
        assert client.follow_redirects is False
        await client.aclose()


@pytest.fixture
def claude():
    """Makes upstreams of one streaming model behind LiteLLM."""
    with LocalServer(Starlette(routes=[Route("/v1/messages", messages, methods=["POST"])])) as service:
        target = Target("claude", "anthropic/claude-sonnet-4-20250514", service.url, Secret("env:KEY", KEY))
        yield lambda: LiteLLMUpstream(target, TimeoutConfig())


def call(*, stream=False):
    document = {"model": "claude", "messages": HELLO, "stream": stream}
    decision = Decision("claude", None, None, None, "pass-through", ("claude",))
    return Call("/chat/completions", json.dumps(document).encode(), document, stream, decision)


@pytest.mark.filterwarnings("ignore")
async def test_an_older_engine_closes_no_client_of_a_newer_one(claude):
    """After a reload both share LiteLLM's clients: streams go on while the older is closed, and later requests work."""
    older, newer = claude(), claude()
    for upstream in (older, newer):
        await upstream.start()
        assert (await upstream.send(call())).status == 200
    stream = (await newer.send(call(stream=True))).chunks
    pieces = [await anext(stream)]
    await older.close()
    assert b"[DONE]" in b"".join(pieces + [piece async for piece in stream])
    assert (await newer.send(call())).status == 200
    await newer.close()
    await newer.close()


@pytest.mark.filterwarnings("ignore")
def test_an_event_loop_closes_its_own_clients_and_leaves_none_behind(claude):
    """Those of another loop stay open; a later loop, perhaps with the same id, is given none that was closed."""
    cache = require_litellm().in_memory_llm_clients_cache.cache_dict
    at_first = set(cache)
    with asyncio.Runner() as other:
        staying = claude()
        other.run(staying.start())
        assert other.run(staying.send(call())).status == 200
        before = dict(cache)
        for _ in range(3):
            with asyncio.Runner() as runner:
                upstream = claude()
                runner.run(upstream.start())
                assert runner.run(upstream.send(call())).status == 200
                assert cache.keys() > before.keys()
                runner.run(upstream.close())
            assert cache == before
        assert other.run(staying.send(call())).status == 200
        other.run(staying.close())
    assert set(cache) == at_first
