"""The server before a real upstream, asked by OpenAI's own client and by raw HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.processes import wait_until
from support.upstream import WORDS, LocalServer, Upstream, closed_port

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
STRONG, WEAK = "router-random-0", "router-random-1"
KEY = "sk-test-1234567890"


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def server(upstream) -> Iterator[LocalServer]:
    """Pointsman before the upstream, with the models that the upstream misbehaves for, too."""
    with LocalServer(upstream.app()) as up, closed_port() as nowhere, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_UPSTREAM_KEY", KEY)
        patient = {"retry": {"attempts": 0}, "breaker": {"failures": 1000}}
        service = {"base_url": f"{up.url}/v1", "api_key": "env:TEST_UPSTREAM_KEY", **patient}
        special = ["html", "html-200", "error-200", *(f"status-{n}" for n in (400, 401, 404, 429, 500, 503))]
        models = {
            "big": {**service, "model": "vendor/big-1"},
            "small": {**service, "model": "small-1"},
            "hasty": {**service, "model": "small-1", "timeouts": {"first_byte_s": 0.3}},
            "halting": {**service, "model": "small-1", "timeouts": {"between_chunks_s": 0.3}},
            "unreachable": {"base_url": f"http://127.0.0.1:{nowhere}/v1", **patient},
            **dict.fromkeys(special, service),
        }
        values = {
            "strong": "big",
            "weak": "small",
            "models": models,
            "routers": {"random": {}},
            "server": {"max_body_bytes": 12_000_000, "cors_origins": ["https://chat.example"]},
        }
        with LocalServer(create_app(make_config(values))) as front:
            yield front


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="client-key", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made


@contextmanager
def set_to(thing, name, value):
    before = getattr(thing, name)
    setattr(thing, name, value)
    try:
        yield
    finally:
        setattr(thing, name, before)


def test_a_completion_comes_from_the_model_that_was_chosen(client, upstream):
    """Above the threshold the strong model answers, below it the weak one; headers say which and why."""
    for model, name, asked in ((STRONG, "big", "vendor/big-1"), (WEAK, "small", "small-1")):
        raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
        answer = raw.parse()
        assert answer.choices[0].message.content == "".join(WORDS)
        assert answer.usage.total_tokens == 14
        assert upstream.last.document["model"] == asked
        assert raw.headers["x-pointsman-model"] == name
        assert raw.headers["x-pointsman-router"] == "random"
        assert 0.0 <= float(raw.headers["x-pointsman-win-rate"]) <= 1.0
        assert float(raw.headers["x-pointsman-threshold"]) == float(model[-1])
        assert raw.headers["x-pointsman-reason"] == "win_rate"
        assert raw.headers["x-request-id"] == "req-1"


def test_a_stream_comes_as_the_upstream_sent_it(client, upstream):
    """OpenAI's client reads every chunk, in order, up to the finish reason."""
    with client.chat.completions.create(model=STRONG, messages=HELLO, stream=True) as stream:
        chunks = list(stream)
    assert [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content] == WORDS
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert upstream.last.document["stream"] is True


def test_a_stream_is_not_gathered(http, upstream):
    """The first chunk reaches the client while the upstream has not gone on to the next."""
    body = {"model": STRONG, "messages": HELLO, "stream": True}
    with set_to(upstream, "held", True), http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        pieces = response.iter_raw()
        assert b"assistant" in next(pieces)
        upstream.held = False
        assert b"".join(pieces).endswith(b"data: [DONE]\n\n")


def test_tools_come_back_as_calls(client, upstream):
    """Tools, a dict tool_choice and tool messages pass in both directions."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
    choice = {"type": "function", "function": {"name": "weather"}}
    answer = client.chat.completions.create(model=STRONG, messages=HELLO, tools=tools, tool_choice=choice)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, answer.choices[0].finish_reason) == ("weather", "tool_calls")
    messages = [*HELLO, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    client.chat.completions.create(model=STRONG, messages=messages, tools=tools)
    assert [m["role"] for m in upstream.last.document["messages"]] == ["user", "assistant", "tool"]


def test_a_body_reaches_the_upstream_byte_by_byte(http, upstream):
    """Images, JSON schemas, odd numbers and unknown fields arrive as they were written, and nothing is added."""
    body = (
        '{ "model":"router-random-0",  "n": 1e400, "seed": 12345678901234567890, "twice": 1, "twice": 2,\n'
        '"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"model": "inner"}}},'
        '"unknown": [null, 0.10000000000000000555], "messages": [{"role": "user", "content": [{"type": "text", "text":'
        ' "\\u00e9 \\ud83d\\ude00"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}'
    ).encode("ascii")
    response = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert upstream.last.body == body.replace(b"router-random-0", b"vendor/big-1")


def test_a_client_chooses_neither_key_nor_url(http, upstream):
    """The upstream gets its own key, none of the client's headers but tracing ones."""
    headers = {"Authorization": "Bearer client-key", "Cookie": "a=b", "X-Api-Key": "c", "traceparent": "00-1-2-01"}
    body = {"model": STRONG, "messages": HELLO, "api_key": "evil", "base_url": "http://evil"}
    assert http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    received = upstream.last.headers
    assert received["authorization"] == f"Bearer {KEY}"
    assert received["traceparent"] == "00-1-2-01"
    assert not {"cookie", "x-api-key"} & set(received)


def test_a_models_own_name_goes_straight_to_it(client):
    """No router is asked, and the headers say so."""
    raw = client.chat.completions.with_raw_response.create(model="small", messages=HELLO)
    assert raw.headers["x-pointsman-model"] == "small"
    assert raw.headers["x-pointsman-reason"] == "pass-through"
    assert "x-pointsman-router" not in raw.headers


@pytest.mark.parametrize("model", ["auto", "router-random", "router-random-50pct", "router-random-0.11593"])
def test_every_form_of_the_model_field_is_served(client, model):
    """Defaults, shares and thresholds all lead to an answer."""
    assert client.chat.completions.create(model=model, messages=HELLO).choices


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_upstreams_error_is_passed_on(http, status):
    """Status, body and Retry-After are the upstream's; a key that it repeats is blotted out."""
    response = http.post("/v1/chat/completions", json={"model": f"status-{status}", "messages": HELLO})
    assert response.status_code == status
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["message"] == "no: Bearer [redacted]"


@pytest.mark.parametrize(
    ("model", "status"), [("html", 503), ("html-200", 502), ("error-200", 502), ("unreachable", 502)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_answer_is_an_openai_error(http, model, status, stream):
    """Pages, errors dressed as success and services that are not there become errors in OpenAI's shape."""
    response = http.post("/v1/chat/completions", json={"model": model, "messages": HELLO, "stream": stream})
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert model in response.json()["error"]["message"]
    assert response.headers["x-pointsman-model"] == model


def test_a_silent_upstream_is_a_timeout(http, upstream):
    """No first byte within the model's limit is a 504."""
    with set_to(upstream, "delay_s", 60.0):
        response = http.post("/v1/chat/completions", json={"model": "hasty", "messages": HELLO})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "upstream_timeout"


def test_a_stalled_stream_ends_with_an_error(client, upstream):
    """OpenAI's client raises on the error event; it is not left to think that the answer was complete."""
    with (
        set_to(upstream, "pause_s", 60.0),
        pytest.raises(openai.APIError, match="stopped in the middle"),
        client.chat.completions.create(model="halting", messages=HELLO, stream=True) as stream,
    ):
        list(stream)


def test_a_client_that_hangs_up_cancels_the_call(http, upstream):
    """The upstream sees its stream closed soon after the client left."""
    with set_to(upstream, "held", True):
        body = {"model": STRONG, "messages": HELLO, "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            next(response.iter_raw())
        place = len(upstream.received) - 1
        wait_until(lambda: place in upstream.cancelled)


def test_a_decision_asks_no_model(http, upstream):
    """POST /v1/route answers the decision for a prompt or for a chat request."""
    before = len(upstream.received)
    for body in ({"prompt": "Hi", "model": STRONG}, {"messages": HELLO, "model": STRONG}):
        decision = http.post("/v1/route", json=body).json()
        assert decision["model"] == "big"
        assert decision["candidates"] == ["big", "small"]
        assert (decision["threshold"], decision["router"], decision["reason"]) == (0.0, "random", "win_rate")
    assert http.post("/v1/route", json={"prompt": "Hi"}).json()["threshold"] == 0.5
    assert len(upstream.received) == before


def test_the_models_are_listed(client):
    """Routers, auto and models; each can be asked for by its name, slashes and all."""
    names = [model.id for model in client.models.list()]
    assert names[:4] == ["auto", "router-random", "big", "small"]
    assert client.models.retrieve("router-random").owned_by == "pointsman"
    with pytest.raises(openai.NotFoundError, match="router-random"):
        client.models.retrieve("no/such")


@pytest.mark.parametrize(
    ("model", "status", "wanted"),
    [
        ("gpt-4", 404, "models: big, small"),
        ("router-random-1.5", 400, "threshold from 0 to 1"),
        ("router-nope-0.5", 404, "routers: random"),
        ("router-random-", 400, "threshold from 0 to 1"),
        ("router-random-0." + "5" * 1000, 404, "has 1016 characters"),
    ],
)
def test_a_wrong_model_says_what_there_is(http, model, status, wanted):
    """A model field that means nothing is refused in OpenAI's shape."""
    response = http.post("/v1/chat/completions", json={"model": model, "messages": HELLO})
    assert (response.status_code, response.json()["error"]["param"]) == (status, "model")
    assert wanted in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200000,
        b'{"model": 1}',
        b'{"model": "auto", "messages": "Hi"}',
        b"null",
        b'{"model": "auto", "messages": []}',
        b'{"messages": [{"role": "user", "content": "Hi"}]}',
        b"NaN",
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"])
def test_a_malformed_body_is_a_400(http, path, body):
    """Whatever a client sends, the answer is an error in OpenAI's shape that says what was wanted."""
    if path == "/v1/route" and b'messages": [{' in body:
        return
    response = http.post(path, content=body)
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_a_large_body_is_served_and_a_larger_one_refused(http, upstream):
    """Ten megabytes of chat reach the upstream whole; beyond the limit the answer is a clean 413."""
    large = [{"role": "user", "content": "word " * 2_000_000}]
    assert http.post("/v1/chat/completions", json={"model": STRONG, "messages": large}).status_code == 200
    assert upstream.last.document["messages"] == large
    larger = [{"role": "user", "content": "word " * 3_000_000}]
    response = http.post("/v1/chat/completions", json={"model": STRONG, "messages": larger})
    assert response.status_code == 413
    assert "12000000" in response.json()["error"]["message"]
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/health", 405),
        ("POST", "/v1/route/", 404),
    ],
)
def test_wrong_paths_and_methods_are_openai_errors(http, method, path, status):
    """Even what no endpoint sees is answered in OpenAI's shape."""
    response = http.request(method, path)
    assert response.status_code == status
    assert path in response.json()["error"]["message"]


def test_a_listed_origin_may_call_from_a_browser(http):
    """CORS answers the configured origin, lets it read the decision, and no other."""
    headers = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST"}
    allowed = http.options("/v1/chat/completions", headers=headers).headers
    assert allowed["access-control-allow-origin"] == "https://chat.example"
    exposed = http.get("/health", headers={"Origin": "https://chat.example"}).headers
    assert "x-pointsman-model" in exposed["access-control-expose-headers"]
    assert "access-control-allow-origin" not in http.get("/health", headers={"Origin": "https://evil.example"}).headers


def test_keys_are_nowhere_to_be_seen(http):
    """Neither the list of models nor any error shows a key."""
    seen = http.get("/v1/models").text
    for model in ("status-401", "unreachable", "html"):
        seen += http.post("/v1/chat/completions", json={"model": model, "messages": HELLO}).text
    assert KEY not in seen


def test_an_error_event_is_json_that_clients_know(http, upstream):
    """The last event of a broken stream is an OpenAI error, and [DONE] does not follow."""
    with set_to(upstream, "pause_s", 60.0):
        text = http.post("/v1/chat/completions", json={"model": "halting", "messages": HELLO, "stream": True}).text
    last = text.strip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "upstream_timeout"
    assert "[DONE]" not in text
