"""Answers nested more deeply than anything can be written that goes through them."""

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pointsman.serve import create_app
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.translation.tools import arguments_object

from support.upstream import LocalServer

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
DEEP = '{"a":' + "[" * 990 + "1" + "]" * 990 + "}"  # orjson reads 1,024 levels, Python's own JSON writes fewer
USE = f'{{"type":"tool_use","id":"toolu_1","name":"f","input":{DEEP}}}'
HEAD = '"id":"m","type":"message","role":"assistant","model":"m","usage":{"input_tokens":3,"output_tokens":5}'
WHOLE = f'{{{HEAD},"content":[{USE}],"stop_reason":"tool_use"}}'
STREAM = (
    f'event: message_start\ndata: {{"type":"message_start","message":{{{HEAD},"content":[],"stop_reason":null}}}}\n\n'
    'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
    '"text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    '{"type":"text_delta","text":"Hi"}}\n\n'
    f'event: content_block_start\ndata: {{"type":"content_block_start","index":1,"content_block":{USE}}}\n\n'
)


@pytest.fixture(scope="module")
def ask():
    """Asks a server before Anthropic's API, whose answers are nested deeply."""

    async def say(request: Request) -> Response:
        streams = (await request.json()).get("stream")
        return Response(STREAM if streams else WHOLE, media_type="text/event-stream" if streams else "application/json")

    with LocalServer(Starlette(routes=[Route(MESSAGES, say, methods=["POST"])])) as behind:
        model = {"base_url": f"{behind.url}/v1", "model": "m", "provider": "anthropic", "retry": {"attempts": 0}}
        values = {"strong": "claude", "weak": "claude-2", "models": {"claude": model, "claude-2": model}}
        values["routers"] = {"random": {}}
        with LocalServer(create_app(make_config(values))) as front, httpx.Client(base_url=front.url) as client:
            yield lambda path, **asked: client.post(path, json={"model": "claude", **asked}, timeout=60.0)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_whole_answer_nested_too_deeply_is_its_services_failure(ask, path):
    """And not the server's."""
    asked = {"messages": [{"role": "user", "content": "Hi"}]} if path == CHAT else {"input": "Hi"}
    answered = ask(path, **asked)
    assert (answered.status_code, answered.json()["error"]["code"]) == (502, "upstream_malformed")


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_stream_with_an_event_nested_too_deeply_ends_with_an_error(ask, path):
    """After what came before it, and not in the middle of nowhere."""
    asked = {"messages": [{"role": "user", "content": "Hi"}]} if path == CHAT else {"input": "Hi"}
    answered = ask(path, **asked, stream=True)
    assert answered.status_code == 200
    assert '"Hi"' in answered.text and "upstream_malformed" in answered.text


def test_arguments_nested_too_deeply_are_kept_as_text():
    """Within the levels that requests may have they are an object."""
    few = '{"a":' + "[" * 299 + "]" * 299 + "}"
    assert arguments_object(few) == json.loads(few)
    for text in (DEEP, few.replace("[", "[[").replace("]", "]]")):
        assert arguments_object(text) == {"raw_arguments": text}
