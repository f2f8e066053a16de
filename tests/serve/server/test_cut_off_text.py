"""Texts cut off in the middle of an emoji, in requests and in answers: half of it is valid JSON, "\\ud83d"."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.sse import event_data

from support.upstream import LocalServer

HALF = "Hi \ud83d"
CHOICE = {"index": 0, "message": {"role": "assistant", "content": HALF}, "finish_reason": "stop"}
COMPLETION = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE]}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"text": HALF}}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [USE], "stop_reason": "tool_use"}
MESSAGE["usage"] = {"input_tokens": 3, "output_tokens": 5}
TURNS = [{"role": "user", "content": HALF}]
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"


@dataclass
class _Service:
    """Answers every request with the same JSON."""

    answer: dict[str, Any] = field(default_factory=lambda: COMPLETION)
    status: int = 200
    received: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        paths = (CHAT, MESSAGES, RESPONSES)
        return Starlette(routes=[Route(path, self._say, methods=["POST"]) for path in paths])

    async def _say(self, request: Request) -> Response:
        self.received.append(json.loads(await request.body()))
        return Response(json.dumps(self.answer), self.status, media_type="application/json")


@pytest.fixture
def service():
    """A service, and a client of a server before it."""
    made = _Service()
    with LocalServer(made.app()) as behind:
        once = {"base_url": f"{behind.url}/v1", "model": "m", "retry": {"attempts": 0}}
        models = {
            "gpt": {**once, "parameters": {"temperature": 0.5}, "override": True},
            "claude": {**once, "provider": "anthropic"},
        }
        values = {"strong": "claude", "weak": "gpt", "models": models, "routers": {"random": {}}}
        with LocalServer(create_app(make_config(values))) as front, httpx.Client(base_url=front.url) as client:
            made.post = lambda path, **document: client.post(
                path, content=json.dumps(document), headers={"content-type": "application/json"}, timeout=60.0
            )
            yield made


def test_parameters_are_overridden(service):
    """The text reaches the service as it came."""
    answered = service.post(CHAT, model="gpt", messages=TURNS, temperature=1, user=HALF)
    assert (answered.status_code, answered.json()) == (200, COMPLETION)
    assert service.received == [{"model": "m", "messages": TURNS, "temperature": 0.5, "user": HALF}]


def test_a_decision_is_explained(service):
    """With the text that was read of the request."""
    answered = service.post("/v1/route", model="auto", messages=TURNS, explain=True)
    assert answered.status_code == 200
    assert answered.json()["explanation"]["read"]["text"] == HALF


def test_a_whole_answer_is_told_as_a_stream(service):
    """As the service said it."""
    answered = service.post(CHAT, model="gpt", messages=TURNS, stream=True)
    assert answered.status_code == 200
    assert json.loads(event_data(answered.content)[0])["choices"][0]["delta"]["content"] == HALF


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_arguments_are_translated(service, path):
    """A tool's arguments are text in OpenAI's APIs."""
    service.answer = MESSAGE
    asked = {"messages": TURNS} if path == CHAT else {"input": HALF}
    answered = service.post(path, model="claude", **asked)
    assert answered.status_code == 200, answered.text
    made = answered.json()
    call = made["choices"][0]["message"]["tool_calls"][0]["function"] if path == CHAT else made["output"][0]
    assert json.loads(call["arguments"]) == {"text": HALF}
    assert service.received[0]["messages"][0]["content"] == HALF or HALF in json.dumps(
        service.received[0]["messages"], ensure_ascii=False
    )


def test_a_tool_call_of_a_history_is_translated(service):
    """From Anthropic's API to OpenAI's."""
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}
    turns = [*TURNS, {"role": "assistant", "content": [USE]}, result]
    answered = service.post(MESSAGES, model="gpt", messages=turns, max_tokens=9)
    assert (answered.status_code, answered.json()["content"][0]["text"]) == (200, HALF)
    assert json.loads(service.received[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"text": HALF}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_an_error_is_told(service, path, status):
    """One that quotes the text, in a success too: that is the service's failure, and not the server's."""
    service.answer, service.status = {"error": {"message": HALF, "type": HALF, "code": HALF}}, status
    asked = {"input": HALF} if path == RESPONSES else {"messages": TURNS}
    answered = service.post(path, model="gpt", **asked, **({"max_tokens": 9} if path == MESSAGES else {}))
    assert answered.status_code == (502 if status == 200 else 400)
    assert "Hi" in answered.json()["error"]["message"]
