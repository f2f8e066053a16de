"""Held streams, seen by the clients that people use: no time-out, the chosen answer alone, in order, with its usage."""

import json
from contextlib import ExitStack

import anthropic
import openai
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.cascading import CascadingUpstream
from support.upstream import LocalServer

ESCALATED = json.dumps({"small": {"text": ""}, "big": {"text": "I am big and right."}})
ACCEPTED = json.dumps({"small": {"text": "I am small and enough."}})
CASES = [(ESCALATED, "I am big and right."), (ACCEPTED, "I am small and enough.")]


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def url(request):
    """A server whose streams are held, with comments, before models that take a while; by what they speak."""
    with ExitStack() as stack:
        upstream = stack.enter_context(LocalServer(CascadingUpstream(delay_s=0.1).app()))
        model = {"base_url": f"{upstream.url}/v1", "provider": request.param}
        values = {
            "strong": "big",
            "weak": "small",
            "routers": {"random": {"threshold": 1.0}},
            "models": {name: {**model, "model": f"{name}-1"} for name in ("small", "big")},
            "cascade": {"stream": "hold", "keep_alive_s": 0.02},
        }
        yield stack.enter_context(LocalServer(create_app(make_config(values)))).url


@pytest.mark.parametrize(("prompt", "text"), CASES)
def test_openai_reads_a_held_chat(url, prompt, text):
    """Chunks in their order, and the usage at the end."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="router-random",
            messages=[{"role": "user", "content": prompt}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage.completion_tokens == len(text.split())


@pytest.mark.parametrize(("prompt", "text"), CASES)
def test_openai_reads_a_held_response(url, prompt, text):
    """The deltas are the text of the finished response."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        events = list(client.responses.create(model="router-random", input=prompt, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert events[-1].response.output_text == text
    assert events[-1].response.usage.output_tokens == len(text.split())


@pytest.mark.parametrize(("prompt", "text"), CASES)
def test_anthropic_reads_a_held_message(url, prompt, text):
    """Its helper puts the final message together."""
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        asked = {"model": "router-random", "max_tokens": 50, "messages": [{"role": "user", "content": prompt}]}
        with client.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) == text
            message = stream.get_final_message()
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", len(text.split()))


@pytest.mark.parametrize(("prompt", "text"), CASES)
def test_langchain_reads_a_held_chat(url, prompt, text):
    """Its chunks add up to the answer and its usage."""
    langchain = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    model = langchain.ChatOpenAI(
        model="router-random", base_url=f"{url}/v1", api_key="x", max_retries=0, stream_usage=True
    )
    first, *others = model.stream(prompt)
    for chunk in others:
        first += chunk
    assert first.content == text
    assert first.usage_metadata["output_tokens"] == len(text.split())
