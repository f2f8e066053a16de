"""A real local upstream that speaks OpenAI's protocol, and a server to put before it.

`LocalServer` runs any ASGI application with uvicorn in a thread, on a free loopback port. `Upstream` is an application
that records what it is sent and answers as OpenAI would; requests pick another behaviour by the model they ask for.
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

__all__ = ["LocalServer", "Received", "Upstream", "closed_port", "running_upstream"]

WORDS = ["The ", "capital ", "is ", "Paris", "."]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Upstream:
    """Answers chat completions and remembers what it was asked.

    Attributes:
        received: requests, oldest first.
        cancelled: the places in `received` of the streams that were hung up on before their end.
        delay_s: before the first byte.
        pause_s: between the chunks of a stream.
        held: streams that have begun do not go on before this is cleared.
    """

    received: list[Received] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    delay_s: float = 0.0
    pause_s: float = 0.0
    held: bool = False

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            ]
        )

    @property
    def last(self) -> Received:
        return self.received[-1]

    async def _chat(self, request: Request) -> Response:
        self.received.append(Received(request.url.path, dict(request.headers), await request.body()))
        document = self.last.document
        await asyncio.sleep(self.delay_s)
        status = document["model"].removeprefix("status-")
        if status.isdigit():
            error = {"message": f"no: {request.headers.get('authorization')}", "type": "t", "param": None, "code": "c"}
            return JSONResponse({"error": error}, int(status), {"Retry-After": "7"})
        if document["model"] == "html":
            return Response("<html>maintenance</html>", 503, media_type="text/html")
        if document["model"] == "html-200":
            return Response("<html>login</html>", 200, media_type="text/html")
        if document["model"] == "error-200":
            return JSONResponse({"error": {"message": "overloaded"}})
        envelope = {"id": "chatcmpl-1", "created": 1, "model": document["model"]}
        if document.get("stream"):
            return StreamingResponse(self._stream(document, envelope), media_type="text/event-stream")
        choice = {
            "index": 0,
            "message": _message(document),
            "finish_reason": "tool_calls" if "tools" in document else "stop",
        }
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        return JSONResponse(
            {**envelope, "object": "chat.completion", "choices": [choice], "usage": usage},
            headers={"x-request-id": "req-1"},
        )

    async def _embeddings(self, request: Request) -> Response:
        self.received.append(Received(request.url.path, dict(request.headers), await request.body()))
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return JSONResponse({"object": "list", "data": data, "model": self.last.document["model"], "usage": usage})

    async def _responses(self, request: Request) -> Response:
        self.received.append(Received(request.url.path, dict(request.headers), await request.body()))
        text = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
        response = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "error": None,
            "model": self.last.document["model"],
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        if not self.last.document.get("stream"):
            return JSONResponse(response)
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        events = [{"type": "response.created", "response": {**response, "output": [], "status": "in_progress"}}]
        events += [{"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in WORDS]
        events += [{"type": "response.completed", "response": response}]
        numbered = [{**event, "sequence_number": i} for i, event in enumerate(events)]
        lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in numbered]
        return StreamingResponse(iter(lines), media_type="text/event-stream")

    async def _stream(self, document: dict[str, Any], envelope: dict[str, Any]) -> AsyncIterator[bytes]:
        envelope = {**envelope, "object": "chat.completion.chunk"}
        place, finished = len(self.received) - 1, False
        try:
            for delta in [{"role": "assistant"}, *({"content": word} for word in WORDS)]:
                yield _event({**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
                await asyncio.sleep(self.pause_s)
                while self.held:
                    await asyncio.sleep(0.01)
            yield _event({**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            yield b"data: [DONE]\n\n"
            finished = True
        finally:
            if not finished:
                self.cancelled.append(place)


def _message(document: dict[str, Any]) -> dict[str, Any]:
    if "tools" not in document:
        return {"role": "assistant", "content": "".join(WORDS)}
    name = document["tools"][0]["function"]["name"]
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": '{"city": "Paris"}'}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class _QuickServer(uvicorn.Server):
    """Ends as soon as it is told to; uvicorn itself looks ten times a second whether it is."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        while not self.should_exit:
            await self._told.wait()

    def stop(self) -> None:
        """Ends it; from another thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told.set)


class LocalServer:
    """An ASGI application on a free loopback port, until its `with` block ends."""

    def __init__(self, app: Any, **settings: Any) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        idle = {"timeout_keep_alive": 75}  # or on a busy machine clients write to connections that are being closed
        usual = {"log_config": None, "access_log": False, "ws": "none", "timeout_graceful_shutdown": 2}
        settings = {**idle, **usual, **settings}
        self.server = _QuickServer(uvicorn.Config(app, **settings))
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]})

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self._thread.join()
        self._listener.close()


@contextmanager
def running_upstream() -> Iterator[Upstream]:
    """An upstream that is served, with its `url`."""
    made = Upstream()
    with LocalServer(made.app()) as server:
        made.url = f"{server.url}/v1"
        yield made


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, nor can as long as the block lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])
