"""Keeps a client's connection alive while its stream is silent because the model thinks or the call is retried."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Self

import orjson
from starlette.types import Message, Send

from pointsman.serve.http.asgi import UNBUFFERED
from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.http.streams import Headers
from pointsman.serve.protocols.openai_streams import EventStream

__all__ = ["Heartbeat"]

_PING = b": ping\n\n"  # a comment, which every reader of event streams passes over
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


class Heartbeat:
    """Replaces `send` while a request is answered, in a `with` block; pings after `begin`.

    The first ping starts the answer, with status 200: later errors are sent as an error event.
    """

    def __init__(
        self, send: Send, new_stream: Callable[[], EventStream], headers: Callable[[], Headers], *, every_s: float
    ) -> None:
        """Sends no pings before `begin`.

        Args:
            new_stream: makes the state of a stream of the client's API, which words errors.
            headers: returns the answer's headers, for the first ping.
            every_s: longest silence.
        """
        self._send = send
        self._new_stream = new_stream
        self._headers = headers
        self._every_s = every_s
        self._started = self._early = False
        self._status = 200
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._ping: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts the pings: from now on no silence is longer than `every_s`."""
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self._timer = self._loop.call_later(self._every_s, self._check)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        if self._ping is not None:
            self._ping.cancel()

    async def __call__(self, message: Message) -> None:
        """Sends a message of the answer."""
        if self._timer is None and not self._early:
            await self._send(message)
            return
        if self._ping is not None and not self._ping.done():
            await self._ping
        self._last_s = self._loop.time()
        if message["type"] == "http.response.start":
            self._started, self._status = True, message["status"]
            if self._early:
                return
        elif self._early and self._status >= HTTPStatus.BAD_REQUEST:
            failure = _failure(message.get("body", b""), self._status)
            message = {**message, "body": self._new_stream().error_event(failure)}
        if not message.get("more_body", message["type"] == "http.response.start"):
            self._stop()
        await self._send(message)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        left_s = self._last_s + self._every_s - self._loop.time()
        if left_s <= 0.0:
            self._ping = self._loop.create_task(self._send_ping())
            left_s = self._every_s
        self._timer = self._loop.call_later(left_s, self._check)

    async def _send_ping(self) -> None:
        self._last_s = self._loop.time()
        if not self._started:
            self._started = self._early = True
            headers = [_EVENTS, *UNBUFFERED, *self._headers()]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": _PING, "more_body": True})


def _failure(body: bytes, status: int) -> UpstreamFailure:
    """The failure that a whole answer reports."""
    try:
        error = orjson.loads(body)["error"]
        return UpstreamFailure(str(error["message"]), status=status, code=str(error.get("code") or "upstream_error"))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return UpstreamFailure(f"the request was answered with {status}", status=status)
