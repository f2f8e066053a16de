"""What an event stream has told so far: whether its answer is complete, or has failed."""

import json
from abc import ABC, abstractmethod
from typing import Any

import orjson

from pointsman.serve.errors import UpstreamFailure

__all__ = ["DONE", "ChatStream", "EventStream", "ResponsesStream"]

DONE = b"data: [DONE]\n\n"
_MAX_MESSAGE = 500


class EventStream(ABC):
    """One stream.

    Attributes:
        finished: the answer is complete, though more may follow, such as its usage.
        done: nothing more follows.
        failed: the stream broke, or the upstream reported an error in its midst.
    """

    closing: bytes = b""  # the event that ends a finished stream, where its protocol wants one

    def __init__(self) -> None:
        self._begun = False
        self.finished = False
        self.done = False
        self.failed = False

    def see(self, data: bytes) -> None:
        """Takes note of one event's data.

        Raises:
            UpstreamFailure: the data is neither a JSON object nor [DONE], or is an error and the first there is.
        """
        if data.strip() == b"[DONE]":
            self.done = True
        elif data.strip():
            event = _read(data)
            if error := self._error(event):
                if not self._begun:
                    raise UpstreamFailure(f"the upstream answered with an error: {_error_message(error)}")
                self.failed = True
            self._begun = True
            self._note(event)

    def error_event(self, failure: UpstreamFailure) -> bytes:
        """The event that ends a broken stream."""
        return b"data: " + failure.body() + b"\n\n"

    def _error(self, event: dict[str, Any]) -> object:
        """What the event reports as an error; something false where it reports none."""
        return event.get("error")

    @abstractmethod
    def _note(self, event: dict[str, Any]) -> None:
        """Takes note of an event: sets `finished` and `done`."""


class ChatStream(EventStream):
    """A stream of chat completion chunks: complete with a finish_reason, ended by [DONE]."""

    closing = DONE

    def _note(self, event: dict[str, Any]) -> None:
        choices = event.get("choices")
        if isinstance(choices, list) and any(isinstance(c, dict) and c.get("finish_reason") for c in choices):
            self.finished = True


class ResponsesStream(EventStream):
    """A stream of the Responses API: complete and ended by response.completed or response.incomplete."""

    def error_event(self, failure: UpstreamFailure) -> bytes:
        body = {**orjson.loads(failure.body()), "type": "error", "code": failure.code, "message": str(failure)}
        return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"

    def _error(self, event: dict[str, Any]) -> object:
        if event.get("type") == "response.failed":
            response = event.get("response")
            return (response.get("error") if isinstance(response, dict) else None) or "response.failed"
        return event if event.get("type") == "error" else None

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("type") in ("response.completed", "response.incomplete"):
            self.finished = self.done = True


def _read(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        chunk = _read_leniently(data)
    if not isinstance(chunk, dict):
        raise UpstreamFailure("the upstream sent a stream event that is no JSON object", code="upstream_malformed")
    return chunk


def _error_message(error: object) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return str(message)[:_MAX_MESSAGE]


def _read_leniently(data: bytes) -> Any:
    """What some upstreams send and clients read, though it is no JSON: NaN, infinities, lone surrogates."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UpstreamFailure("the upstream sent a stream event that is not JSON", code="upstream_malformed") from None
