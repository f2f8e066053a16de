"""Services that speak OpenAI's protocol with words of their own: what each sends reaches the client byte by byte."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pointsman.serve import create_app
from pointsman.serve.config import TimeoutConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.upstreams.base import Call
from pointsman.serve.upstreams.openai import OpenAIUpstream
from pointsman.serve.upstreams.providers import Target

from support.autopilot_server import lifespan
from support.faulty_upstream import Misbehaving
from support.upstream import LocalServer, Received

HELLO = [{"role": "user", "content": "Hello"}]
KEY = "azure-secret-key"
FILTERED = {"hate": {"filtered": False, "severity": "safe"}, "jailbreak": {"filtered": False, "detected": False}}


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> str:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    document = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return f"data: {json.dumps(document)}\n\n"


def choice(finish: str | None, *, delta: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish, **more}]


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
DONE = "data: [DONE]\n\n"
STREAMS = {
    "azure": [
        chunk(None, id="", model="", prompt_filter_results=[{"prompt_index": 0, "content_filter_results": FILTERED}]),
        chunk({"role": "assistant", "content": ""}),
        chunk(None, choices=choice(None, delta={"content": "Hi"}, content_filter_results=FILTERED)),
        chunk(
            None, choices=choice(None, delta={}, content_filter_offsets={"check_offset": 35}, content_filter_results={})
        ),
        chunk({}, "stop", obfuscation="x9"),
        chunk(None, usage=USAGE),
        DONE,
    ],
    "vllm": [
        chunk({"role": "assistant", "content": ""}, prompt_token_ids=None),
        chunk({"reasoning_content": "hm", "reasoning": "hm"}),
        chunk(None, choices=choice(None, delta={"content": "Hi"}, token_ids=None, stop_reason=None)),
        chunk(None, choices=choice("stop", delta={}, stop_reason=151645)),
        chunk(None, usage={**USAGE, "prompt_tokens_details": None}, kv_transfer_params=None),
        DONE,
    ],
    "ollama": [
        chunk({"role": "assistant", "content": "Hi"}, system_fingerprint="fp_ollama"),
        chunk({"role": "assistant", "content": ""}, "stop", system_fingerprint="fp_ollama"),
        DONE,
    ],
    "llama.cpp": [
        chunk({"role": "assistant", "content": None}),
        chunk({"content": "Hi"}),
        chunk({}, "stop", timings={"prompt_n": 1, "predicted_per_second": 99.5}, usage=USAGE),
        DONE,
    ],
    "openrouter": [
        ": OPENROUTER PROCESSING\n\n",
        ": OPENROUTER PROCESSING\n\n",
        chunk({"role": "assistant", "content": "Hi"}, provider="Anthropic", native_finish_reason=None),
        ": OPENROUTER PROCESSING\n\n",
        chunk({"content": ""}, "stop", provider="Anthropic", usage={**USAGE, "cost": 0.01, "is_byok": False}),
        DONE,
    ],
}


@dataclass
class Service:
    """Plays what the model's name says."""

    received: list[Received] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.received.append(Received(where, dict(request.headers), await request.body()))
        model = self.received[-1].document["model"]
        if model == "filtered":
            inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": FILTERED}
            error = {"message": f"filtered, {KEY}", "type": None, "param": "prompt", "code": "content_filter"}
            return Response(json.dumps({"error": {**error, "status": 400, "innererror": inner}}), 400)
        if model == "broken":
            error = {"code": "server_error", "message": "Provider disconnected unexpectedly"}
            events = [*STREAMS["openrouter"][:3], chunk({"content": ""}, "error", error=error)]
            return Response("".join(events), media_type="text/event-stream")
        return Response("".join(STREAMS[model]), media_type="text/event-stream; charset=utf-8")


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


@pytest.fixture(scope="module")
def front(service) -> Iterator[LocalServer]:
    with LocalServer(service.app()) as up, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_AZURE_KEY", KEY)
        azure = {
            "base_url": f"{up.url}/openai/v1/?api-version=preview",
            "headers": {"api-key": "env:TEST_AZURE_KEY", "x-ms-client-request-id": "fixed"},
        }
        models = {name: {"base_url": f"{up.url}/v1"} for name in (*STREAMS, "broken")}
        models |= {"azure": azure, "filtered": azure}
        values = {"strong": "vllm", "weak": "ollama", "models": models, "routers": {"random": {}}}
        with LocalServer(create_app(make_config(values))) as server:
            yield server


@pytest.fixture(scope="module")
def client(front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="client-key", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("name", STREAMS)
def test_every_byte_of_a_stream_arrives(front, client, name):
    """Empty choices, further fields and comments among them; OpenAI's own client reads it to its end."""
    options = {"include_usage": True}
    body = {"model": name, "messages": HELLO, "stream": True, "stream_options": options}
    assert httpx.post(f"{front.url}/v1/chat/completions", json=body).text == "".join(STREAMS[name])
    stream = client.chat.completions.create(model=name, messages=HELLO, stream=True, stream_options=options)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "Hi"


def test_azure_is_asked_with_its_own_key_header(client, service):
    """By its path and api-version; neither its key nor the client's is sent as a bearer token."""
    list(client.chat.completions.create(model="azure", messages=HELLO, stream=True))
    asked = service.received[-1]
    assert asked.path == "/openai/v1/chat/completions?api-version=preview"
    assert (asked.headers["api-key"], asked.headers["x-ms-client-request-id"]) == (KEY, "fixed")
    assert "authorization" not in asked.headers


def test_azures_content_filter_reaches_the_client(client):
    """As its own 400 with all its details, but for the key."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="filtered", messages=HELLO)
    assert caught.value.code == "content_filter"
    assert caught.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert KEY not in str(caught.value)


def test_openrouters_error_in_a_stream_is_no_success(front, client):
    """The client sees what came, the error in the service's own words, and no [DONE]."""
    body = {"model": "broken", "messages": HELLO, "stream": True}
    text = httpx.post(f"{front.url}/v1/chat/completions", json=body).text
    assert "Provider disconnected unexpectedly" in text
    assert "[DONE]" not in text
    with pytest.raises(openai.APIError, match="Provider disconnected"):
        list(client.chat.completions.create(model="broken", messages=HELLO, stream=True))


async def test_an_upstream_that_never_pauses_ends_at_the_deadline_of_the_whole_answer():
    """Nobody ever waits for such a stream; it is ended all the same, and the client is told."""

    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:  # until the other end hangs up
            connection.sendall(b": and on\n\n" * 1000)

    upstream = Misbehaving()
    upstream.script = [flood]
    model = {"base_url": upstream.url, "retry": {"attempts": 0}, "timeouts": {"total_s": 0.2}}
    values = {"strong": "big", "weak": "small", "models": {"big": model, "small": model}, "fallback": "none"}
    app = create_app(make_config({**values, "routers": {"random": {}}}))
    async with lifespan(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            body = {"model": "big", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
            answer = await client.post("/v1/chat/completions", json=body)
    upstream.close()
    assert '"upstream_timeout"' in answer.text


def upstream_that_answers(body: bytes) -> OpenAIUpstream:
    """An upstream whose every answer is a success with this body."""
    answer = SimpleNamespace(status=200, headers=[(b"content-type", b"application/json")], whole=lambda: body)

    async def post(*_, **__):
        return answer

    pool = SimpleNamespace(post=post, release=lambda *_: None)
    return OpenAIUpstream(Target("m", "m", "http://127.0.0.1:9", None), pool, TimeoutConfig())


EMBEDDING = Call("/embeddings", b'{"model": "m"}', {"model": "m"}, False, None)


@pytest.mark.parametrize("vector", ["1," * 1_200_000 + "0.5", '"' + "QUJD" * 50_000 + '"', "1e999, NaN," * 9_000 + "1"])
async def test_a_large_answer_is_read_as_a_small_one(vector):
    """More numbers than a client may send, long strings, and numbers that JSON does not have."""
    body = f'{{"data": [{{"embedding": [{vector}]}}], "usage": {{"prompt_tokens": 7}}}}'.encode()
    reply = await upstream_that_answers(body).send(EMBEDDING)
    assert reply.body == body
    assert repr(reply.document) == repr(json.loads(body))


@pytest.mark.parametrize("end", ["", "]", "}}", "}]", "]}}"])
async def test_a_large_answer_that_is_damaged_is_an_error(end):
    """Cut off, or with brackets that do not fit."""
    body = ('{"data": [{"embedding": [' + "1," * 50_000 + "1]" + end).encode()
    with pytest.raises(UpstreamFailure, match="wanted a JSON object"):
        await upstream_that_answers(body).send(EMBEDDING)


@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_is_read_before_its_connection_serves_another(whole):
    """Its status and headers are its own even if the next request takes the connection the moment it is free."""
    body = b'{"error": {"message": "No"}}'
    answer = SimpleNamespace(status=429, headers=[(b"x-request-id", b"mine")], whole=lambda: body if whole else None)
    pieces = [body, b""]

    async def read(_deadline):
        return pieces.pop(0)

    async def post(*_, **__):
        return answer

    def release(_to, released):
        released.status, released.headers = 0, []

    answer.read = read
    target = Target("m", "m", "http://127.0.0.1:9", None)
    upstream = OpenAIUpstream(target, SimpleNamespace(post=post, release=release), TimeoutConfig())
    call = Call("/chat/completions", b'{"model": "m"}', {"model": "m"}, False, None)
    reply = await upstream.send(call)
    assert (reply.status, answer.status) == (429, 0)
    assert (b"x-request-id", b"mine") in reply.headers
