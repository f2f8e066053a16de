"""A stream of Anthropic's API as a stream of the Responses API."""

from collections.abc import Iterator
from typing import Any

from pointsman.serve.protocols.translation.custom_tools import custom_input
from pointsman.serve.protocols.translation.message_events import MessageReader
from pointsman.serve.protocols.translation.open_blocks import OpenBlock
from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.translation.responses_over_messages.answer import (
    ending,
    output_item,
    response_head,
    response_usage,
)
from pointsman.serve.protocols.translation.responses_over_messages.tools import named_tools_of
from pointsman.serve.protocols.usage import Usage

__all__ = ["ResponseEvents"]

_PIECES = {"text": "output_text", "thinking": "reasoning_summary_text", "input": "function_call_arguments"}


class ResponseEvents(MessageReader):
    """Makes the events of one response from the events of a message."""

    def __init__(self, asked: Document, *, created: int) -> None:
        super().__init__(asked, created=created)
        self._named = named_tools_of(asked)
        self._response: dict[str, Any] = {}
        self._output: list[dict[str, Any]] = []
        self._open: dict[int | None, tuple[OpenBlock, dict[str, Any]]] = {}  # blocks and their items by index
        self._n_events = 0

    def end(self, usage: Usage | None) -> Iterator[dict[str, Any]]:
        """The events after the last one.

        Args:
            usage: as the service told it, or as counted here.
        """
        yield from self._once()
        for index in list(self._open):
            yield from self._close(index)
        ended = ending(self.stop)
        whole = {**self._response, **ended, "output": self._output, "usage": response_usage(usage, self.told)}
        yield self._event(f"response.{ended['status']}", response=whole)

    def _start(self, message: Document) -> Iterator[dict[str, Any]]:
        self._response = response_head(message, self._asked, self._created)
        yield self._event("response.created", response=self._response)
        yield self._event("response.in_progress", response=self._response)

    def _begin(self, index: int | None, block: Document) -> Iterator[dict[str, Any]]:
        item = output_item({**block, "text": "", "thinking": "", "input": {}}, self._named, status="in_progress")
        if item is None:
            return
        opened = OpenBlock(block)
        opened.place = len(self._output)
        self._output.append(item)
        self._open[index] = opened, item
        shown = _emptied(item)
        yield self._event("response.output_item.added", output_index=opened.place, item=shown)
        if item["type"] == "message":
            yield self._at(opened, item, "response.content_part.added", content_index=0, part=item["content"][0])
            if block.get("text"):
                yield from self._continue(index, {"type": "text_delta", "text": block["text"]})

    def _continue(self, index: int | None, delta: Document) -> Iterator[dict[str, Any]]:
        opened, item = self._open.get(index, (None, None))
        if opened is None or item is None:
            return
        first = opened.kind == "thinking" and not opened.said("thinking")
        kind, text = opened.add(delta)
        if not text or kind not in _PIECES or (kind == "input" and item["type"] != "function_call"):
            return
        if kind == "thinking" and first:
            part = {"type": "summary_text", "text": ""}
            yield self._at(opened, item, "response.reasoning_summary_part.added", summary_index=0, part=part)
        places: dict[str, Any] = {"text": {"content_index": 0, "logprobs": []}, "thinking": {"summary_index": 0}}
        yield self._at(opened, item, f"response.{_PIECES[kind]}.delta", delta=text, **places.get(kind, {}))

    def _close(self, index: int | None) -> Iterator[dict[str, Any]]:
        opened, item = self._open.pop(index, (None, None))
        if opened is None or item is None:
            return
        block = opened.whole() if opened.kind != "text" else {**opened.block, "text": opened.said("text")}
        whole = {**(output_item(block, self._named) or item), "id": item["id"]}
        if "call_id" in item:
            whole["call_id"] = item["call_id"]
        self._output[opened.place] = whole
        yield from self._done(opened, whole)
        yield self._event("response.output_item.done", output_index=opened.place, item=whole)

    def _done(self, opened: OpenBlock, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if item["type"] == "message":
            part = item["content"][0]
            text = {"content_index": 0, "text": part["text"], "logprobs": []}
            yield self._at(opened, item, "response.output_text.done", **text)
            yield self._at(opened, item, "response.content_part.done", content_index=0, part=part)
        elif item["type"] == "reasoning" and item["summary"]:
            part = item["summary"][0]
            yield self._at(opened, item, "response.reasoning_summary_text.done", summary_index=0, text=part["text"])
            yield self._at(opened, item, "response.reasoning_summary_part.done", summary_index=0, part=part)
        elif item["type"] == "function_call":
            if not opened.has_input():
                yield self._at(opened, item, "response.function_call_arguments.delta", delta=item["arguments"])
            told = {"arguments": item["arguments"], "name": item["name"]}
            yield self._at(opened, item, "response.function_call_arguments.done", **told)
        elif item["type"] == "custom_tool_call":
            given = custom_input(opened.whole().get("input"))
            yield self._at(opened, item, "response.custom_tool_call_input.delta", delta=given)
            yield self._at(opened, item, "response.custom_tool_call_input.done", input=given)

    def _at(self, opened: OpenBlock, item: dict[str, Any], kind: str, **fields: Any) -> dict[str, Any]:
        return self._event(kind, item_id=item["id"], output_index=opened.place, **fields)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._n_events += 1
        return {"type": kind, "sequence_number": self._n_events - 1, **fields}


def _emptied(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it begins: its content is still to come."""
    nothing: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "reasoning": {"encrypted_content": None},
    }
    return {**item, **nothing.get(item["type"], {})}
