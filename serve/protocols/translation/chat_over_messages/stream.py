"""A stream of Anthropic's API as a chat stream."""

from collections.abc import Iterator
from typing import Any

from pointsman.serve.protocols.translation.chat_over_messages.answer import (
    completion_head,
    completion_usage,
    finish_reason,
    tool_call,
)
from pointsman.serve.protocols.translation.chat_over_messages.tools import custom_names, original_names
from pointsman.serve.protocols.translation.message_events import MessageReader
from pointsman.serve.protocols.translation.open_blocks import OpenBlock
from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.usage import Usage

__all__ = ["CompletionChunks"]


class CompletionChunks(MessageReader):
    """Makes the chunks of one chat stream from the events of a message."""

    def __init__(self, asked: Document, *, created: int) -> None:
        super().__init__(asked, created=created)
        self._names, self._customs = original_names(asked), custom_names(asked)
        self._head: dict[str, Any] = {}
        self._open: dict[int | None, OpenBlock] = {}  # blocks by their index
        self._n_calls = self._n_thoughts = 0

    def end(self, usage: Usage | None) -> Iterator[dict[str, Any]]:
        """The chunks after the last event: why it ended, and its usage.

        Args:
            usage: as the service told it, or as counted here.
        """
        yield from self._once()
        for index in list(self._open):
            yield from self._close(index)
        if self.stop == "refusal" and isinstance(self.details, dict) and self.details.get("explanation"):
            yield self._chunk({"refusal": str(self.details["explanation"])})
        yield self._chunk({}, finish_reason(self.stop, has_calls=self._n_calls > 0))
        yield {**self._head, "choices": [], "usage": completion_usage(usage, self.told)}

    def _start(self, message: Document) -> Iterator[dict[str, Any]]:
        self._head = completion_head(message, self._asked, "chat.completion.chunk", self._created)
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _begin(self, index: int | None, block: Document) -> Iterator[dict[str, Any]]:
        opened = self._open[index] = OpenBlock(block)
        if opened.kind == "text" and block.get("text"):
            yield self._chunk({"content": block["text"]})
        elif opened.kind == "tool_use":
            opened.place, self._n_calls = self._n_calls, self._n_calls + 1
            call = tool_call({**block, "input": {}}, self._names, self._customs)
            if call["type"] == "function":
                call["function"]["arguments"] = ""
                yield self._call(opened, call)

    def _continue(self, index: int | None, delta: Document) -> Iterator[dict[str, Any]]:
        opened = self._open.get(index)
        if opened is None:
            return
        kind, text = opened.add(delta)
        if not text:
            return
        if kind == "text":
            yield self._chunk({"content": text})
        elif kind == "thinking":
            yield self._chunk({"reasoning_content": text})
        elif kind == "input" and not self._is_custom(opened):
            yield self._call(opened, {"function": {"arguments": text}})

    def _close(self, index: int | None) -> Iterator[dict[str, Any]]:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        if opened.kind in ("thinking", "redacted_thinking"):
            yield self._chunk({"thinking_blocks": [{"index": self._n_thoughts, **opened.whole()}]})
            self._n_thoughts += 1
        elif opened.kind == "tool_use" and self._is_custom(opened):
            yield self._call(opened, tool_call(opened.whole(), self._names, self._customs))
        elif opened.kind == "tool_use" and not opened.has_input():
            arguments = tool_call(opened.block, self._names, self._customs)["function"]["arguments"]
            yield self._call(opened, {"function": {"arguments": arguments}})

    def _is_custom(self, opened: OpenBlock) -> bool:
        sent = str(opened.block.get("name") or "")
        return self._names.get(sent, sent) in self._customs

    def _call(self, opened: OpenBlock, call: dict[str, Any]) -> dict[str, Any]:
        return self._chunk({"tool_calls": [{"index": opened.place, **call}]})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "choices": [choice], "usage": None}
