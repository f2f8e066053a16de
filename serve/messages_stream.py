"""The event stream of Anthropic's Messages API: what it has told so far."""

from typing import Any

import orjson

from pointsman.serve.errors import UpstreamFailure
from pointsman.serve.event_streams import EventStream
from pointsman.serve.messages_errors import messages_error

__all__ = ["MessagesStream"]


class MessagesStream(EventStream):
    """A stream from message_start to message_stop: complete with a stop_reason, ended by message_stop.

    Its tokens are in `message.usage` of message_start and in `usage` of message_delta, whose counts replace the former.
    """

    closing = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def see(self, data: bytes) -> None:
        if data.strip() != b"[DONE]":  # some services end every stream with it; here it means nothing
            super().see(data)

    def error_event(self, failure: UpstreamFailure) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(messages_error(failure.status, str(failure))) + b"\n\n"

    def _error(self, event: dict[str, Any]) -> object:
        return (event.get("error") or event) if event.get("type") == "error" else None

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("type") == "message_stop":
            self.finished = self.done = True
        elif event.get("type") == "message_delta":
            delta = event.get("delta")
            self.finished |= isinstance(delta, dict) and bool(delta.get("stop_reason"))
