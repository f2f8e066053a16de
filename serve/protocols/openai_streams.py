"""The state of an event stream: whether its answer is complete or failed, and its length."""

from abc import ABC, abstractmethod
from typing import Any

import orjson

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.edit_json import hide_usage
from pointsman.serve.protocols.read_json import read_json
from pointsman.serve.protocols.token_count import TextSample
from pointsman.serve.protocols.turns import event_marks, message_marks
from pointsman.serve.protocols.upstream_errors import ReportedError, ReportedFailure, find_error
from pointsman.serve.protocols.usage import Usage, read_usage

__all__ = ["DONE", "ChatStream", "EventStream", "ResponsesStream"]

DONE = b"data: [DONE]\n\n"
_MOST_PLACES = 1000  # of answers in one stream: services give 128 at most


class EventStream(ABC):
    """One stream.

    Attributes:
        finished: the answer is complete, though more may follow, such as its usage.
        done: nothing more follows.
        begun: some of the answer has arrived; pings and comments do not count.
        failed: the stream broke, or the upstream reported an error in its midst.
        failure: how it broke; None if it did not, or the upstream reported it.
        usage: tokens as the upstream reports them; None until it does.
        prompt: usage of the prompt reported before the answer, if any.
        answer: the text so far.
        thought: likewise of the model's visible thinking.
        hides_usage: whether to hide the usage, which the client did not request.
        marks: of what the model made that later requests may refer to (`turns.py`).
        n_answers: number of answers requested.
        fingerprint: `system_fingerprint` of the upstream, if any.
    """

    closing: bytes = b""  # the event that ends a finished stream, where its protocol wants one

    def __init__(self) -> None:
        self.begun = False
        self.finished = False
        self.done = False
        self.failed = False
        self.failure: UpstreamFailure | None = None
        self.usage: Usage | None = None
        self.prompt: Usage | None = None
        self.answer = TextSample()
        self.thought = TextSample()
        self.hides_usage = False
        self.marks: list[str] = []
        self.n_answers = 1
        self.fingerprint: object = None

    def see(self, data: bytes) -> None:
        """Reads one event's data.

        Raises:
            UpstreamFailure: the data is neither a JSON object nor [DONE], or the first event is an error.
        """
        data = data.strip()
        if data == b"[DONE]":
            self.done = True
        elif data:
            event = _read(data)
            if (reported := self._error(event)) is not None:
                if not self.begun:
                    self._note(event)  # it may tell its usage
                    raise ReportedFailure(reported)
                self.failed = True
            self.begun = self.begun or (event.get("type") != "ping" and bool(event))
            self._note(event)

    def n_tokens(self) -> int:
        """Tokens of text and thinking so far, estimated here."""
        return self.answer.n_tokens() + self.thought.n_tokens()

    def show(self, events: bytes) -> bytes:
        """Complete events as the client gets them: every byte, except usage that it did not request."""
        return events

    def error_event(self, failure: UpstreamFailure) -> bytes:
        """The event that ends a broken stream."""
        return b"data: " + failure.body() + b"\n\n"

    def _error(self, event: dict[str, Any]) -> ReportedError | None:
        """The error that an event reports, if any."""
        return find_error(event)

    @abstractmethod
    def _note(self, event: dict[str, Any]) -> None:
        """Reads an event: sets `finished`, `done` and `usage`, adds to `answer` and `marks`."""


class ChatStream(EventStream):
    """A stream of chat completion chunks: complete with a finish_reason, ended by [DONE]."""

    closing = DONE

    def __init__(self) -> None:
        super().__init__()
        self._begun: set[int] = set()  # places of the answers, of which n > 1 asks for several
        self._ended: set[int] = set()

    def show(self, events: bytes) -> bytes:
        return hide_usage(events) if self.hides_usage else events

    def _note(self, event: dict[str, Any]) -> None:
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._note_choice(choice)
        self.fingerprint = event.get("system_fingerprint") or self.fingerprint
        if event.get("usage") is not None:
            self.usage = read_usage(event["usage"]) or self.usage

    def _note_choice(self, choice: dict[str, Any]) -> None:
        self._note_place(choice)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._note_delta(delta)

    def _note_place(self, choice: dict[str, Any]) -> None:
        place = choice.get("index")
        place = place if isinstance(place, int) else 0
        places = self._ended if choice.get("finish_reason") else self._begun
        if place not in places and len(places) < _MOST_PLACES:
            places.add(place)
            self.finished = self._begun <= self._ended and len(self._ended) >= self.n_answers

    def _note_delta(self, delta: dict[str, Any]) -> None:
        self.answer.add(delta.get("content"))
        if len(delta) > 1 or "content" not in delta:
            self.marks += message_marks(delta)
            self.thought.add(delta.get("reasoning_content") or delta.get("reasoning"))
            self.answer.add(delta.get("refusal"))
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                function = call.get("function") if isinstance(call, dict) else None
                self.answer.add(function.get("arguments") if isinstance(function, dict) else None)


class ResponsesStream(EventStream):
    """A stream of the Responses API: complete and ended by response.completed or response.incomplete."""

    def error_event(self, failure: UpstreamFailure) -> bytes:
        body = {**orjson.loads(failure.body()), "type": "error", "code": failure.code, "message": failure.message}
        return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"

    def _error(self, event: dict[str, Any]) -> ReportedError | None:
        if event.get("type") == "response.failed":
            response = event.get("response")
            reported = find_error(response) if isinstance(response, dict) else None
            return reported or ReportedError("response.failed")
        return find_error(event)

    def _note(self, event: dict[str, Any]) -> None:
        self.marks += event_marks(event)
        kind = event.get("type")
        if isinstance(kind, str) and kind.endswith(".delta") and "audio" not in kind:
            (self.thought if "reasoning" in kind else self.answer).add(event.get("delta"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            response = event.get("response")
            self.usage = read_usage(response.get("usage") if isinstance(response, dict) else None)
            self.finished = self.done = kind != "response.failed"


def _read(data: bytes) -> dict[str, Any]:
    try:
        chunk = read_json(data)
    except ValueError:
        raise UpstreamFailure("the upstream sent a stream event that is not JSON", code="upstream_malformed") from None
    if not isinstance(chunk, dict):
        raise UpstreamFailure("the upstream sent a stream event that is not a JSON object", code="upstream_malformed")
    return chunk
