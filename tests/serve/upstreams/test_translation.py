"""Models on the APIs that their services do not speak, before real upstreams, by the public SDKs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.translation.errors import chat_error

from support.messages_upstream import MessagesUpstream
from support.upstream import WORDS, LocalServer

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
STRONG, WEAK = "router-random-0", "router-random-1"
PRICE = {"input_usd_per_million": 1.0, "output_usd_per_million": 10.0, "cached_input_usd_per_million": 0.1}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 900}}
TOO_LONG = "This model's maximum context length is 8192 tokens."


@dataclass
class _ChatUpstream:
    """A service of OpenAI's protocol that refuses what OpenAI's models refuse."""

    refused: tuple[str, ...] = ()
    usage: dict[str, Any] | None = field(default_factory=lambda: dict(USAGE))
    breaks: bool = False
    error: dict[str, Any] | None = None
    n_before_error: int = 1
    received: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"])])

    async def _chat(self, request: Request) -> Response:
        document = await request.json()
        self.received.append(document)
        if document["model"] == "too-long":
            error = {"message": TOO_LONG, "type": "invalid_request_error", "code": "context_length_exceeded"}
            return JSONResponse({"error": error}, 400)
        for name in self.refused:
            if name in document:
                error = {"message": f"Unsupported parameter: '{name}'", "type": "invalid_request_error", "param": name}
                return JSONResponse({"error": error}, 400)
        head = {"id": "c", "created": 1, "model": document["model"]}
        headers = {"x-request-id": "req_7", "x-ratelimit-remaining-requests": "9"}
        if document.get("stream"):
            return StreamingResponse(self._chunks(head, document), media_type="text/event-stream", headers=headers)
        choice = {"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}
        whole = {**head, "object": "chat.completion", "choices": [choice], "usage": self.usage}
        return JSONResponse(whole, headers=headers)

    def _chunks(self, head: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
        head = {**head, "object": "chat.completion.chunk"}
        for i, text in enumerate(("Pa", "ris")):
            if self.error is not None and i == self.n_before_error:
                yield f"data: {json.dumps({'error': self.error})}\n\n"
                return
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
        if self.breaks:
            return
        yield f"data: {json.dumps({**head, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
        if (document.get("stream_options") or {}).get("include_usage") and self.usage:
            yield f"data: {json.dumps({**head, 'choices': [], 'usage': self.usage})}\n\n"
        yield "data: [DONE]\n\n"


@pytest.fixture
def chat() -> _ChatUpstream:
    return _ChatUpstream()


@pytest.fixture
def claude() -> MessagesUpstream:
    return MessagesUpstream()


@pytest.fixture
def server(chat, claude) -> Iterator[LocalServer]:
    """The strong model is a service's of Anthropic's protocol, the weak one of OpenAI's."""
    with LocalServer(chat.app()) as openais, LocalServer(claude.app()) as anthropics:
        once = {"retry": {"attempts": 0}, "price": PRICE}
        native = {"base_url": f"{openais.url}/v1", **once}
        models = {
            "claude": {
                "base_url": f"{anthropics.url}/v1",
                "provider": "anthropic",
                "model": "claude-sonnet-4-5",
                **once,
            },
            "gpt": {**native, "model": "gpt-5"},
            "long": {**native, "model": "too-long"},
        }
        values = {"strong": "claude", "weak": "gpt", "models": models, "routers": {"random": {}}}
        with LocalServer(create_app(make_config(values))) as front:
            yield front


@pytest.fixture
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/v1", timeout=60) as made:
        yield made


def _spent_usd(server: LocalServer) -> float:
    text = httpx.get(f"{server.url}/metrics", timeout=60).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("pointsman_spend_usd_total{"))


def test_responses_are_answered_by_claude(server, claude):
    """OpenAI's client asks it plain and streaming; it is told every event, and the service's tokens."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
        answer = client.responses.create(model="claude", input="Hello", instructions="Be brief.")
        assert (answer.output_text, answer.usage.input_tokens) == ("".join(WORDS), 9)
        with client.responses.stream(model=STRONG, input="Hello") as stream:
            kinds = [event.type for event in stream]
            assert stream.get_final_response().output_text == "".join(WORDS)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert claude.received[0].document["system"] == [{"type": "text", "text": "Be brief."}]


def test_streaming_helpers_see_what_they_see_of_the_service_itself(server, chat, claude):
    """Each SDK's helper tells the same events and the same end of a translated stream as of one of its own service."""
    told = []
    with LocalServer(claude.app()) as anthropics:
        for url, model in ((anthropics.url, "claude"), (server.url, "gpt")):
            with (
                anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client,
                client.messages.stream(model=model, max_tokens=9, messages=HELLO) as stream,
            ):
                kinds = [event.type for event in stream if event.type != "ping"]
                told.append((list(dict.fromkeys(kinds)), stream.get_final_message().stop_reason))
    with LocalServer(chat.app()) as openais:
        for url, model in ((openais.url, "gpt-5"), (server.url, "claude")):
            with (
                openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
                client.chat.completions.stream(model=model, messages=HELLO) as stream,
            ):
                kinds = [event.type for event in stream]
                told.append((list(dict.fromkeys(kinds)), stream.get_final_completion().choices[0].finish_reason))
    assert (told[1], told[3]) == (told[0], told[2])


@pytest.mark.parametrize("stream", [False, True])
def test_a_translated_answer_costs_what_its_service_says(server, http, stream):
    """Cached tokens at their price, whole and streamed, whatever the client is shown."""
    asked = {"model": "gpt", "max_tokens": 9, "messages": HELLO, "stream": stream}
    assert http.post("/messages", json=asked).status_code == 200
    assert _spent_usd(server) == pytest.approx((100 + 0.1 * 900 + 10 * 50) / 1e6)


def test_a_service_that_reports_no_tokens_is_estimated(server, http, chat):
    """The client's stream ends with an estimate, and so does the bill."""
    chat.usage = None
    asked = {"model": "gpt", "max_tokens": 9, "messages": HELLO, "stream": True}
    told = http.post("/messages", json=asked).text
    end = next(json.loads(line[6:]) for line in told.splitlines() if '"message_delta"' in line and line[:5] == "data:")
    assert end["usage"]["input_tokens"] > 0
    assert end["usage"]["output_tokens"] > 0
    assert _spent_usd(server) > 0


def test_a_stream_that_breaks_is_not_shown_as_complete(http, chat):
    """A translated stream ends with an error event of the client's API and without its last event."""
    chat.breaks = True
    told = http.post("/messages", json={"model": "gpt", "max_tokens": 9, "messages": HELLO, "stream": True}).text
    assert "message_stop" not in told
    assert told.rstrip().splitlines()[-2] == "event: error"


@pytest.mark.parametrize("n_before_error", [0, 1])
def test_an_error_in_a_stream_keeps_its_words(http, chat, n_before_error):
    """The first event's is the answer, with the status that it means; a later one ends the stream."""
    chat.error, chat.n_before_error = {"message": "that image is broken", "code": 400}, n_before_error
    answered = http.post("/messages", json={"model": "gpt", "max_tokens": 9, "messages": HELLO, "stream": True})
    assert answered.status_code == (200 if n_before_error else 400)
    assert "that image is broken" in answered.text
    assert ('"text":"Pa"' in answered.text) == bool(n_before_error)
    assert "message_stop" not in answered.text
    assert len(chat.received) == 1


def test_a_refused_hint_is_left_out(http, chat):
    """A model that knows no effort is asked again without, once, and from then on at once."""
    chat.refused = ("reasoning_effort",)
    asked = {"model": "gpt", "max_tokens": 9, "messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    for _ in range(2):
        assert http.post("/messages", json=asked).status_code == 200
    assert ["reasoning_effort" in document for document in chat.received] == [True, False, False]


def test_a_refused_demand_is_the_clients(http, chat):
    """What changes the answer is not dropped: the service's refusal is passed on."""
    chat.refused = ("stop",)
    refused = http.post("/messages", json={"model": "gpt", "max_tokens": 9, "messages": HELLO, "stop_sequences": ["x"]})
    assert (refused.status_code, len(chat.received)) == (400, 1)
    assert "Unsupported parameter: 'stop'" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "fields", "able"),
    [
        ("/chat/completions", {"logprobs": True}, "gpt"),
        ("/chat/completions", {"stop": "\n"}, "gpt"),
        ("/chat/completions", {"logprobs": False}, None),
        ("/messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "max_tokens": 9}, "claude"),
        ("/messages", {"container": "c", "max_tokens": 9}, "claude"),
        ("/messages", {"container": None, "max_tokens": 9}, None),
    ],
)
def test_what_one_model_cannot_be_asked_the_other_is(http, path, fields, able):
    """Of a pair the model answers that can; where both can the router chooses."""
    for model, chosen in ((STRONG, "claude"), (WEAK, "gpt")):
        answered = http.post(path, json={"model": model, "messages": HELLO, **fields})
        assert (answered.status_code, answered.headers["x-pointsman-model"]) == (200, able or chosen)
    if able:
        name = next(iter(fields))
        assert answered.headers["x-pointsman-reason"].startswith((name, "win_rate"))
        other = "claude" if able == "gpt" else "gpt"
        refused = http.post(path, json={"model": other, "messages": HELLO, **fields})
        assert (refused.status_code, refused.headers.get("x-pointsman-model")) == (400, other)


def test_headers_of_the_service_are_kept(http):
    """Its request id, under the name that each SDK looks for, and its rate limits."""
    messages = http.post("/messages", json={"model": "gpt", "max_tokens": 9, "messages": HELLO}).headers
    assert (messages["request-id"], messages["x-request-id"]) == ("req_7", "req_7")
    assert messages["x-ratelimit-remaining-requests"] == "9"
    chats = http.post("/chat/completions", json={"model": "claude", "messages": HELLO}).headers
    assert (chats["x-request-id"], chats["anthropic-ratelimit-requests-remaining"]) == ("req_1", "9")


def test_a_prompt_that_is_too_long_is_known_by_clients(server):
    """Anthropic's clients shorten it by its words, OpenAI's by its code."""
    with (
        anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as client,
        pytest.raises(anthropic.BadRequestError, match=f"prompt is too long: {TOO_LONG}"),
    ):
        client.messages.create(model="long", max_tokens=9, messages=HELLO)
    told = chat_error(b'{"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}')
    assert json.loads(told)["error"]["code"] == "context_length_exceeded"


def test_an_odd_text_is_passed_on(http, chat):
    """A lone surrogate, which JSON may carry, reaches the service."""
    body = json.dumps({"model": "gpt", "max_tokens": 9, "messages": [{"role": "user", "content": "a\ud800b"}]})
    answered = http.post("/messages", content=body, headers={"content-type": "application/json"})
    assert answered.status_code == 200
    assert chat.received[-1]["messages"][0]["content"] == "a\ud800b"
