"""Stand-ins for a server without models: they say which model would have been called, and why."""

import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import orjson

from pointsman.core.decision import Decision
from pointsman.serve.protocols.openai_streams import DONE
from pointsman.serve.upstreams.base import Call, Reply, Upstream, refuse_surface
from pointsman.serve.upstreams.stand_in_messages import message, message_events

__all__ = ["STRONG_STAND_IN", "WEAK_STAND_IN", "StandIn"]

STRONG_STAND_IN, WEAK_STAND_IN = "stand-in-strong", "stand-in-weak"
_CHAT_PATH, _MESSAGES_PATH = "/chat/completions", "/messages"
_JSON = ((b"content-type", b"application/json"),)
_EVENTS = ((b"content-type", b"text/event-stream; charset=utf-8"),)
_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class StandIn(Upstream):
    """One of the two built-in stand-ins; it calls no model, and every answer says that it is a stand-in."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def provider(self) -> str:
        return "pointsman-stand-in"

    async def send(self, call: Call) -> Reply:
        text = _explanation(call.decision)
        if call.path == _MESSAGES_PATH:
            if call.stream:
                return Reply(200, _EVENTS, chunks=message_events(text, self._name))
            return Reply(200, _JSON, orjson.dumps(message(text, self._name)))
        if call.path != _CHAT_PATH:
            refuse_surface(call, self._name, (_CHAT_PATH, _MESSAGES_PATH))
        envelope = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self._name}
        if call.stream:
            return Reply(200, _EVENTS, chunks=_stream(text, envelope, with_usage=_wants_usage(call)))
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": "stop",
        }
        answer = {**envelope, "object": "chat.completion", "choices": [choice], "usage": _NO_USAGE}
        return Reply(200, _JSON, orjson.dumps(answer))


def _explanation(decision: Decision) -> str:
    role = "STRONG" if decision.model == STRONG_STAND_IN else "WEAK"
    why = decision.why if decision.router is not None else "the request names it"
    return (
        "This is Pointsman's built-in stand-in: no model was asked. "
        f"It would have asked the {role} model, because {why}. "
        "For real answers name your models: pointsman serve --strong-model ... --weak-model ..."
    )


async def _stream(text: str, envelope: dict[str, Any], *, with_usage: bool) -> AsyncGenerator[bytes, None]:
    for chunk in _chunks(text, envelope, with_usage=with_usage):
        yield b"data: " + orjson.dumps(chunk) + b"\n\n"
    yield DONE


def _chunks(text: str, envelope: dict[str, Any], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    envelope = {**envelope, "object": "chat.completion.chunk", **({"usage": None} if with_usage else {})}
    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1].rstrip()
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    for delta in deltas:
        yield {**envelope, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
    yield {**envelope, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}
    if with_usage:
        yield {**envelope, "choices": [], "usage": _NO_USAGE}


def _wants_usage(call: Call) -> bool:
    options = call.document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
