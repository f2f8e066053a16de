"""Clients that people have, unmodified, each against a live server before live upstreams of both protocols."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.lazy import LazyModule
from support.messages_upstream import MessagesUpstream
from support.upstream import WORDS, LocalServer, Upstream

langchain_openai, litellm = LazyModule("langchain_openai"), LazyModule("litellm")

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
TEXT = "".join(WORDS)
NODE_CLIENTS = Path(__file__).parents[2] / "clients"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server whose strong model speaks Anthropic's protocol and whose weak one speaks OpenAI's."""
    with LocalServer(Upstream().app()) as gpt, LocalServer(MessagesUpstream().app()) as claude:
        models = {
            "gpt": {"base_url": f"{gpt.url}/v1", "model": "gpt-4o"},
            "claude": {"provider": "anthropic", "base_url": f"{claude.url}/v1", "model": "claude-sonnet-4-20250514"},
        }
        values = {"strong": "claude", "weak": "gpt", "models": models}
        values["routers"] = {"random": {"threshold": 1.0}}
        with LocalServer(create_app(make_config(values))) as front:
            yield front.url


def test_openais_python_client(url):
    """Chat, streams, tools, responses, embeddings and models."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        assert client.chat.completions.create(model="auto", messages=HELLO).choices[0].message.content == TEXT
        with client.chat.completions.stream(model="auto", messages=HELLO) as stream:
            assert stream.get_final_completion().choices[0].message.content == TEXT
        called = client.chat.completions.create(model="gpt", messages=HELLO, tools=[TOOL]).choices[0]
        assert called.message.tool_calls[0].function.name == "weather"
        assert client.responses.create(model="auto", input="Hello").output_text == TEXT
        with client.responses.create(model="auto", input="Hello", stream=True) as stream:
            assert [event.delta for event in stream if event.type == "response.output_text.delta"] == WORDS
        assert client.embeddings.create(model="gpt", input="x", encoding_format="float").data[0].embedding == [
            0.5,
            -0.5,
        ]
        assert {model.id for model in client.models.list()} >= {"auto", "router-random", "gpt", "claude"}
        assert client.models.retrieve("claude").owned_by == "anthropic"


async def test_openais_asynchronous_python_client(url):
    """Many requests at once, plain and streaming."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:

        async def ask(stream: bool) -> str:
            answer = await client.chat.completions.create(model="auto", messages=HELLO, stream=stream)
            if not stream:
                return answer.choices[0].message.content
            return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])

        assert set(await asyncio.gather(*(ask(i % 2 == 0) for i in range(20)))) == {TEXT}


async def test_anthropics_python_client(url):
    """Messages, streams, tokens and models, synchronous and not."""
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        answer = client.messages.create(model="router-random-0", max_tokens=9, messages=HELLO)
        assert answer.content[0].text == TEXT
        assert client.messages.count_tokens(model="claude", messages=HELLO).input_tokens == 9
        assert {model.id for model in client.models.list()} >= {"auto", "claude"}
        assert client.models.retrieve("claude").display_name == "claude"
    async with (
        anthropic.AsyncAnthropic(base_url=url, auth_token="x", max_retries=0) as client,
        client.messages.stream(model="router-random-0", max_tokens=9, messages=HELLO) as stream,
    ):
        assert await stream.get_final_text() == TEXT


@pytest.mark.filterwarnings("ignore")  # LangChain's own
async def test_langchain(url):
    """Its chat model, plain, streaming and with tools, and its embeddings."""
    chat = langchain_openai.ChatOpenAI(model="auto", base_url=f"{url}/v1", api_key="x", max_retries=0)
    assert chat.invoke("Hello").content == TEXT
    assert "".join(chunk.content for chunk in chat.stream("Hello")) == TEXT
    assert (await chat.ainvoke("Hello")).content == TEXT
    assert chat.bind_tools([TOOL]).invoke("Hello").tool_calls[0]["name"] == "weather"
    embeddings = langchain_openai.OpenAIEmbeddings(
        model="gpt", base_url=f"{url}/v1", api_key="x", check_embedding_ctx_length=False
    )
    assert embeddings.embed_query("Hello") == [0.5, -0.5]


@pytest.mark.filterwarnings("ignore")  # LiteLLM's own
async def test_litellm_as_a_client(url):
    """In OpenAI's protocol and in Anthropic's, plain and streaming."""
    for model, base in (("openai/auto", f"{url}/v1"), ("anthropic/router-random-0", url)):
        options = {"model": model, "api_base": base, "api_key": "x", "messages": HELLO, "max_retries": 0}
        assert (await litellm.acompletion(**options)).choices[0].message.content == TEXT
        stream = await litellm.acompletion(**options, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == TEXT
    await litellm.close_litellm_async_clients()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(url):
    """A whole answer, and a stream that arrives unbuffered."""
    body = {"model": "auto", "messages": HELLO}
    command = ["curl", "-sSN", f"{url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d"]
    whole = subprocess.run([*command, json.dumps(body)], capture_output=True, check=True, timeout=60)
    assert json.loads(whole.stdout)["choices"][0]["message"]["content"] == TEXT
    stream = subprocess.run(
        [*command, json.dumps({**body, "stream": True})], capture_output=True, check=True, timeout=60
    )
    assert stream.stdout.endswith(b"data: [DONE]\n\n")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.skipif(
    not (NODE_CLIENTS / "node_modules" / "openai").exists(),
    reason="the clients for Node are not installed: npm ci --prefix tests/clients",
)
def test_the_clients_for_node(url):
    """OpenAI's and Anthropic's: plain, streaming, errors; responses, embeddings, models, tokens."""
    done = subprocess.run(
        ["node", NODE_CLIENTS / "clients.mjs", url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    said = {name: seen[name] for name in ("chat", "stream", "responses", "message", "messageStream")}
    assert set(said.values()) == {TEXT}
    assert (seen["embedding"], seen["count"]) == ([0.5, -0.5], 9)
    assert {"auto", "gpt", "claude"} <= set(seen["models"])
    assert (seen["error"], seen["messageError"]) == ([404, "model_not_found"], [404, "not_found_error"])
