"""While nothing of a stream comes its client hears something, and learns of everything all the same."""

import json
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.upstream import LocalServer, Upstream, running_upstream

HELLO = [{"role": "user", "content": "Hello"}]
PINGS = b": ping\n\n"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as made:
        made.delay_s = 0.5
        yield made


@pytest.fixture
def front(upstream) -> Iterator[LocalServer]:
    """A server that pings after a tenth of a second, before an upstream that takes five of them."""
    once = {"base_url": upstream.url, "retry": {"attempts": 0}}
    models = {name: {**once, "model": name} for name in ("big", "small", "status-503", "status-400")}
    values = {"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}, "server": {"ping_s": 0.1}}
    with LocalServer(create_app(make_config(values))) as server:
        yield server


def ask(front, model, path="chat/completions", **more):
    asked = {"model": model, "max_tokens": 9, "messages": HELLO, "stream": True, **more}
    return httpx.post(f"{front.url}/v1/{path}", json=asked, timeout=60)


def test_pings(front):
    """They come before the stream and between its events, whose bytes are what they are without them."""
    answered = ask(front, "big")
    assert answered.status_code == 200
    assert answered.content.startswith(PINGS)
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert answered.headers["x-pointsman-model"] == "big"
    assert answered.content.replace(PINGS, b"").startswith(b"data: {")
    assert answered.content.endswith(b"data: [DONE]\n\n")


def test_silence_within_a_stream(front, upstream):
    """Between two events, too."""
    upstream.delay_s, upstream.pause_s = 0.0, 0.3
    _, first, rest = ask(front, "big").content.partition(b"data: {")
    assert first
    assert PINGS in rest


def test_sdks(front):
    """OpenAI's and Anthropic's clients read such a stream as any other."""
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="x", max_retries=0) as client:
        chunks = client.chat.completions.create(model="big", messages=HELLO, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "The capital is Paris."
    with (
        anthropic.Anthropic(base_url=front.url, api_key="x", max_retries=0) as client,
        client.messages.stream(model="big", max_tokens=9, messages=HELLO) as stream,
    ):
        assert "".join(stream.text_stream) == "The capital is Paris."


@pytest.mark.parametrize(("model", "status"), [("status-503", 503), ("status-400", 400)])
@pytest.mark.parametrize("path", ["chat/completions", "messages"])
def test_failures(front, model, status, path):
    """A failure after the first ping is an error event of the client's API, and no stream that seems complete."""
    answered = ask(front, model, path)
    assert answered.status_code == 200
    (event,) = [json.loads(line[6:]) for line in answered.text.splitlines() if line.startswith("data: ")]
    assert event["error"]["message"]
    assert ("type" in event) is (path == "messages")
    assert "[DONE]" not in answered.text


def test_whole_answers(front):
    """An answer that is not streamed keeps its status and its bytes."""
    assert ask(front, "status-503", stream=False).status_code == 503
    assert ask(front, "big", stream=False).json()["choices"]
