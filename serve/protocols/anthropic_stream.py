"""State of an event stream of Anthropic's Messages API."""

from typing import Any

import orjson

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.anthropic_errors import messages_error
from pointsman.serve.protocols.openai_streams import EventStream
from pointsman.serve.protocols.turns import event_marks
from pointsman.serve.protocols.usage import read_usage

__all__ = ["MessagesStream"]


class MessagesStream(EventStream):
    """A stream from message_start to message_stop: complete with a stop_reason, ended by message_stop.

    Its tokens are in `message.usage` of message_start and in `usage` of message_delta. The counts grow over the stream,
    and some services repeat those of the prompt as zeros: the highest count holds.
    """

    closing = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, Any] = {}

    def see(self, data: bytes) -> None:
        if data.strip() != b"[DONE]":  # some services end every stream with it; here it means nothing
            super().see(data)

    def error_event(self, failure: UpstreamFailure) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(messages_error(failure.status, failure.message)) + b"\n\n"

    def _note(self, event: dict[str, Any]) -> None:
        self.marks += event_marks(event)
        kind, delta = event.get("type"), event.get("delta")
        if kind == "message_stop":
            self.finished = self.done = True
        elif kind == "message_start":
            message = event.get("message")
            self._count(message.get("usage") if isinstance(message, dict) else None)
            self.prompt = read_usage(self._counts)
        elif kind == "message_delta":
            self.finished |= isinstance(delta, dict) and bool(delta.get("stop_reason"))
            self._count(event.get("usage"))
            self.usage = read_usage(self._counts)
        elif kind == "content_block_delta" and isinstance(delta, dict):
            self.answer.add(delta.get("text"))
            self.answer.add(delta.get("partial_json"))
            self.thought.add(delta.get("thinking"))

    def _count(self, usage: object) -> None:
        for name, value in usage.items() if isinstance(usage, dict) else ():
            before = self._counts.get(name)
            if isinstance(value, (int, float)) and isinstance(before, (int, float)):
                self._counts[name] = max(before, value)
            elif value is not None:
                self._counts[name] = value
