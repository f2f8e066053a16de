"""A real local upstream that speaks Anthropic's protocol, as `upstream.py` speaks OpenAI's."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from support.upstream import WORDS, Received

__all__ = ["MessagesUpstream", "message", "message_event"]

USAGE = {"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 6, "output_tokens": 5}


@dataclass
class MessagesUpstream:
    """Answers messages and remembers what it was asked; a model named status-429 is an error of that status."""

    received: list[Received] = field(default_factory=list)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count, methods=["POST"]),
            ]
        )

    @property
    def last(self) -> Received:
        return self.received[-1]

    async def _messages(self, request: Request) -> Response:
        self.received.append(Received(request.url.path, dict(request.headers), await request.body()))
        document = self.last.document
        status = document["model"].removeprefix("status-")
        if status.isdigit():
            key = request.headers.get("x-api-key")
            error = {"type": "rate_limit_error", "message": f"slow down, {key}"}
            return JSONResponse({"type": "error", "error": error}, int(status), {"Retry-After": "7"})
        headers = {"request-id": "req_1", "anthropic-ratelimit-requests-remaining": "9"}
        if document.get("stream"):
            return StreamingResponse(_stream(document), media_type="text/event-stream", headers=headers)
        return JSONResponse(message(document["model"], _content(document)), headers=headers)

    async def _count(self, request: Request) -> Response:
        self.received.append(Received(request.url.path, dict(request.headers), await request.body()))
        return JSONResponse({"input_tokens": 9})


def message(model: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """A whole message."""
    reason = "tool_use" if content and content[-1]["type"] == "tool_use" else "end_turn"
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content}
    return {**answer, "stop_reason": reason, "stop_sequence": None, "usage": USAGE}


def message_event(kind: str, **fields: Any) -> bytes:
    """One event of a stream."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _content(document: dict[str, Any]) -> list[dict[str, Any]]:
    if "tools" in document:
        tool = document["tools"][0]["name"]
        return [{"type": "tool_use", "id": "toolu_1", "name": tool, "input": {"city": "Paris"}}]
    return [{"type": "text", "text": "".join(WORDS)}]


def _stream(document: dict[str, Any]) -> Iterator[bytes]:
    start = {**message(document["model"], []), "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    yield message_event("message_start", message=start)
    if "tools" in document:
        block = {**_content(document)[0], "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ('{"city": ', '"Paris"}')]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in WORDS]
    yield message_event("content_block_start", index=0, content_block=block)
    yield message_event("ping")
    for delta in deltas:
        yield message_event("content_block_delta", index=0, delta=delta)
    yield message_event("content_block_stop", index=0)
    reason = "tool_use" if "tools" in document else "end_turn"
    delta = {"stop_reason": reason, "stop_sequence": None}
    yield message_event("message_delta", delta=delta, usage={"output_tokens": 5})
    yield message_event("message_stop")
