"""The Responses API and embeddings before a real upstream, and the stand-ins of a server without one."""

import socket
from collections.abc import Iterator

import httpx
import openai
import pytest

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config

from support.upstream import WORDS, LocalServer, Upstream

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
STRONG, WEAK = "router-random-0", "router-random-1"
PAIR = {"strong": "big", "weak": "small"}
MODELS = {name: {"base_url": "http://127.0.0.1:9/v1"} for name in PAIR.values()}  # which are never asked


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def server(upstream) -> Iterator[LocalServer]:
    with LocalServer(upstream.app()) as up:
        models = {name: {"base_url": f"{up.url}/v1", "model": f"{name}-1"} for name in ("big", "small")}
        values = {"strong": "big", "weak": "small", "models": models, "routers": {"random": {}}}
        with LocalServer(create_app(make_config(values))) as front:
            yield front


@pytest.fixture(scope="module")
def hasty() -> Iterator[LocalServer]:
    """One that waits for no body."""
    config = make_config({"routers": {"random": {}}, "models": MODELS, **PAIR, "server": {"body_timeout_s": 0.3}})
    with LocalServer(create_app(config)) as front:
        yield front


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="client-key", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def stand_ins() -> Iterator[openai.OpenAI]:
    """A client of a server without models."""
    with (
        LocalServer(create_app(make_config(routers=["random"]))) as front,
        openai.OpenAI(base_url=f"{front.url}/v1", api_key="x") as made,
    ):
        yield made


def test_the_responses_api_is_routed_and_passed_through(client, upstream):
    """OpenAI's client asks it plain and streaming; text, parts and conversations are routed by their last user turn."""
    part = {"type": "input_text", "text": "Hello"}
    turns = [{"role": "user", "content": [part]}, {"role": "assistant", "content": "Yes?"}]
    for given in ("Hello", [{"role": "user", "content": "Hello"}], turns):
        raw = client.responses.with_raw_response.create(model=STRONG, input=given)
        assert raw.parse().output_text == "".join(WORDS)
        assert (raw.headers["x-pointsman-model"], raw.headers["x-pointsman-reason"]) == ("big", "win_rate")
        assert upstream.last.document == {"model": "big-1", "input": given}
    with client.responses.create(model=WEAK, input="Hello", stream=True) as stream:
        events = list(stream)
    assert [e.delta for e in events if e.type == "response.output_text.delta"] == WORDS
    assert events[-1].type == "response.completed"
    assert upstream.last.path == "/v1/responses"


@pytest.mark.parametrize("able", ["strong", "weak"])
def test_a_request_is_routed_to_a_model_that_can_be_asked(upstream, able):
    """A stored response is known to a service of the Responses API alone: there it goes, and nowhere else by name."""
    with LocalServer(upstream.app()) as up:
        models = {name: {"base_url": f"{up.url}/v1", "provider": "anthropic"} for name in ("strong", "weak")}
        models[able]["provider"] = "openai"
        values = {"strong": "strong", "weak": "weak", "models": models, "routers": {"random": {}}}
        with (
            LocalServer(create_app(make_config(values))) as front,
            httpx.Client(base_url=f"{front.url}/v1", timeout=60) as http,
        ):
            asked = {"input": "Hello", "previous_response_id": "resp_1"}
            for model in (STRONG, WEAK):
                answered = http.post("/responses", json={"model": model, **asked})
                assert (answered.status_code, answered.headers["x-pointsman-model"]) == (200, able)
                assert answered.headers["x-pointsman-reason"] in (
                    "win_rate",
                    "previous_response_id is supported only there",
                    "holds the conversation",
                )
            other = "weak" if able == "strong" else "strong"
            refused = http.post("/responses", json={"model": other, **asked})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "previous_response_id")


def test_embeddings_go_to_the_model_that_is_named(client, upstream):
    """They are passed through and never routed."""
    answer = client.embeddings.create(model="small", input="Hello", encoding_format="float")
    assert answer.data[0].embedding == [0.5, -0.5]
    assert upstream.last.document == {"model": "small-1", "input": "Hello", "encoding_format": "float"}
    with pytest.raises(openai.BadRequestError, match="is not routed: name a model instead, one of big, small"):
        client.embeddings.create(model="auto", input="Hello", encoding_format="float")


@pytest.mark.parametrize(
    "body",
    [{"input": 5}, {"input": ["Hello"]}, {"input": [{"role": "user", "content": 5}]}, {"stream": 1}, {"model": 5}],
)
def test_a_malformed_response_request_is_a_400(http, body):
    """The Responses API refuses what it cannot read, in the same shape."""
    response = http.post("/v1/responses", json={"model": STRONG, "input": "Hello", **body})
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_stand_ins_answer_the_responses_api(stand_ins):
    """A stand-in's response is whole, its stream says the same word by word, and both count tokens."""
    whole = stand_ins.responses.create(model="stand-in-weak", input="Hello")
    assert whole.status == "completed" and "built-in stand-in" in whole.output_text
    assert whole.usage.input_tokens > 0 and whole.usage.output_tokens > 10
    events = list(stand_ins.responses.create(model="stand-in-weak", input="Hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == whole.output_text == events[-1].response.output_text
    assert events[-1].type == "response.completed" and events[-1].response.usage == whole.usage


def test_stand_ins_say_which_apis_they_answer(stand_ins):
    """On other surfaces they say where they are to be asked."""
    with pytest.raises(openai.NotFoundError, match="/v1/chat/completions, /v1/messages, /v1/responses"):
        stand_ins.embeddings.create(model="stand-in-weak", input="Hello", encoding_format="float")


@pytest.mark.parametrize(("model", "role", "sign"), [(STRONG, "STRONG", ">="), (WEAK, "WEAK", "<")])
def test_without_models_the_stand_ins_answer(stand_ins, model, role, sign):
    """With nothing configured, each answer says that it is a stand-in's, which model was meant, and why."""
    text = stand_ins.chat.completions.create(model=model, messages=HELLO).choices[0].message.content
    assert "built-in stand-in: no model was asked" in text
    assert f"would have asked the {role} model" in text
    assert f"{sign} threshold {model[-1]}.0000" in text
    options = {"include_usage": True}
    chunks = list(stand_ins.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options=options))
    streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert f"would have asked the {role} model" in streamed
    assert chunks[-1].usage.prompt_tokens > 0 and chunks[-1].usage.completion_tokens > 10


def test_a_stand_in_may_be_named(stand_ins):
    """A request that names one is told that this is why it answers."""
    answer = stand_ins.chat.completions.create(model="stand-in-weak", messages=HELLO)
    assert "because the request names it" in answer.choices[0].message.content


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/route"])
def test_a_body_that_trickles_in_is_not_waited_for(hasty, path):
    """Beyond the limit the answer is a 408, and the connection is closed."""
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=60) as slow:
        slow.sendall(f'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{"model": '.encode())
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer
