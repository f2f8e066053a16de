"""A chat stream as a stream of Anthropic's API."""

from collections.abc import Iterator
from typing import Any

from pointsman.serve.protocols.translation.messages_over_chat.answer import (
    message_head,
    message_usage,
    stop_fields,
    thoughts_and_texts,
)
from pointsman.serve.protocols.translation.messages_over_chat.lanes import Lanes
from pointsman.serve.protocols.translation.messages_over_chat.tools import original_names
from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.usage import Usage

__all__ = ["MessageEvents"]


class MessageEvents:
    """Makes the events of one message from the chunks of a chat stream."""

    def __init__(self, asked: Document, *, n_input_tokens: int) -> None:
        """
        Args:
            asked: the client's request.
            n_input_tokens: of the prompt as counted here: clients want them first, and a chat stream tells them last.
        """
        self._asked = asked
        self._n_input_tokens = n_input_tokens
        self._lanes = Lanes(original_names(asked.get("tools")))
        self._begun = False
        self._finish: object = None
        self._stop: object = None
        self._refused = False

    def feed(self, chunk: Document) -> Iterator[dict[str, Any]]:
        """The events of one chunk."""
        if not self._begun:
            yield self._start(chunk)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):  # one answer was asked for
                yield from self._choice(choice)

    def end(self, usage: Usage | None) -> Iterator[dict[str, Any]]:
        """The events after the last chunk.

        Args:
            usage: as the service told it, or as counted here.
        """
        if not self._begun:
            yield self._start({})
        yield from self._lanes.close()
        calls = self._lanes.has_calls
        delta = stop_fields(self._finish, self._stop, self._asked, has_calls=calls, refused=self._refused)
        yield {"type": "message_delta", "delta": delta, "usage": message_usage(usage)}
        yield {"type": "message_stop"}

    def _start(self, chunk: Document) -> dict[str, Any]:
        self._begun = True
        nothing: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = message_usage(Usage(self._n_input_tokens, 0))
        return {"type": "message_start", "message": {**message_head(chunk, self._asked), **nothing, "usage": usage}}

    def _choice(self, choice: Document) -> Iterator[dict[str, Any]]:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._refused |= bool(delta.get("refusal"))
            for kind, text in thoughts_and_texts(delta):
                yield from self._lanes.say(kind, text)
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    yield from self._lanes.call(call)
            if isinstance(delta.get("function_call"), dict):
                yield from self._lanes.call({"index": 0, "function": delta["function_call"]})
        self._finish = choice.get("finish_reason") or self._finish
        self._stop = choice.get("stop_reason") or self._stop
