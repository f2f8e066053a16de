"""Stand-ins for a server without models: they say which model would have been called, and why."""

import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import orjson

from pointsman.core.decision import Decision
from pointsman.serve.protocols.openai_streams import DONE
from pointsman.serve.protocols.token_count import count_input_tokens, count_tokens
from pointsman.serve.upstreams.base import Call, Reply, Upstream, refuse_surface
from pointsman.serve.upstreams.stand_in_messages import message, message_events
from pointsman.serve.upstreams.stand_in_responses import response, response_events

__all__ = ["STRONG_STAND_IN", "WEAK_STAND_IN", "StandIn"]

STRONG_STAND_IN, WEAK_STAND_IN = "stand-in-strong", "stand-in-weak"
_CHAT_PATH, _MESSAGES_PATH, _RESPONSES_PATH = "/chat/completions", "/messages", "/responses"
_JSON = ((b"content-type", b"application/json"),)
_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)


class StandIn(Upstream):
    """One of the two built-in stand-ins; it calls no model, and every answer says that it is a stand-in."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def provider(self) -> str:
        return "pointsman-stand-in"

    async def send(self, call: Call) -> Reply:
        text = _explanation(call.decision)
        tokens = count_input_tokens(call.document), count_tokens(text)
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        if call.path == _MESSAGES_PATH:
            if call.stream:
                return Reply(200, _EVENTS, chunks=message_events(text, self._name, tokens=tokens))
            return Reply(200, _JSON, orjson.dumps(message(text, self._name, tokens=tokens)))
        if call.path == _RESPONSES_PATH:
            if call.stream:
                return Reply(200, _EVENTS, chunks=response_events(text, self._name, tokens=tokens))
            return Reply(200, _JSON, orjson.dumps(response(text, self._name, tokens=tokens)))
        if call.path != _CHAT_PATH:
            refuse_surface(call, self._name, (_CHAT_PATH, _MESSAGES_PATH, _RESPONSES_PATH))
        envelope = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self._name}
        if call.stream:
            return Reply(200, _EVENTS, chunks=_stream(text, envelope, usage if _wants_usage(call) else None))
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": "stop",
        }
        answer = {**envelope, "object": "chat.completion", "choices": [choice], "usage": usage}
        return Reply(200, _JSON, orjson.dumps(answer))


def _explanation(decision: Decision) -> str:
    role = "STRONG" if decision.model == STRONG_STAND_IN else "WEAK"
    why = decision.why if decision.router is not None else "the request names it"
    return (
        "This is Pointsman's built-in stand-in: no model was asked. "
        f"It would have asked the {role} model, because {why}. "
        "For real answers name your models: pointsman serve --strong-model ... --weak-model ..."
    )


async def _stream(text: str, envelope: dict[str, Any], usage: dict[str, int] | None) -> AsyncGenerator[bytes, None]:
    for chunk in _chunks(text, envelope, usage):
        yield b"data: " + orjson.dumps(chunk) + b"\n\n"
    yield DONE


def _chunks(text: str, envelope: dict[str, Any], usage: dict[str, int] | None) -> Iterator[dict[str, Any]]:
    envelope = {**envelope, "object": "chat.completion.chunk", **({"usage": None} if usage else {})}
    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1].rstrip()
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    for delta in deltas:
        yield {**envelope, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
    yield {**envelope, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}
    if usage:
        yield {**envelope, "choices": [], "usage": usage}


def _wants_usage(call: Call) -> bool:
    options = call.document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
