"""Reads an answer of any API: text, tool calls, why it ended, and how sure the model was."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pointsman.serve.protocols.read_json import read_json
from pointsman.serve.protocols.token_count import TextSample

__all__ = ["Said", "StreamReader", "ToolCall", "read_said"]

_ENDS = {"max_output_tokens": "length", "max_tokens": "length", "refusal": "content_filter"}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON as the model wrote it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Said:
    """One answer; if n > 1, one of several.

    Attributes:
        text: all of its text.
        tool_calls: in order.
        finish_reason: as OpenAI names it: "stop", "length", "tool_calls", "content_filter"; None if unknown.
        refused: whether the upstream marks it as a refusal.
        logprobs: of the text's tokens; empty if unknown.
        margin: nats between the first token and its runner-up.
        output_tokens: as the upstream reports them, for all answers together.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    refused: bool = False
    logprobs: tuple[float, ...] = ()
    margin: float | None = None
    output_tokens: int | None = None


def read_said(document: Mapping[str, Any]) -> list[Said]:
    """The answers in a whole document of chat completions, responses or messages; empty for any other."""
    usage = _mapping(document.get("usage"))
    tokens = usage.get("completion_tokens", usage.get("output_tokens"))
    n_tokens = tokens if type(tokens) is int and tokens >= 0 else None
    if isinstance(document.get("choices"), list):
        choices = [choice for choice in document["choices"] if isinstance(choice, dict)]
        shared = None if n_tokens is None else n_tokens // max(1, len(choices))
        return [_choice(choice, shared) for choice in choices]
    if isinstance(document.get("output"), list):
        return [_output(document, n_tokens)]
    if isinstance(document.get("content"), list):
        return [_content(document, n_tokens)]
    return []


def _choice(choice: Mapping[str, Any], n_tokens: int | None) -> Said:
    message = _mapping(choice.get("message"))
    functions = [_mapping(_mapping(call).get("function")) for call in _list(message.get("tool_calls"))]
    logprobs = _list(_mapping(choice.get("logprobs")).get("content"))
    return Said(
        _text(message.get("content")),
        tuple(ToolCall(_text(f.get("name")), _text(f.get("arguments"))) for f in functions),
        choice.get("finish_reason") if isinstance(choice.get("finish_reason"), str) else None,
        bool(message.get("refusal")) or choice.get("finish_reason") == "content_filter",
        *_probabilities(logprobs),
        output_tokens=n_tokens,
    )


def _output(document: Mapping[str, Any], n_tokens: int | None) -> Said:
    items = [_mapping(item) for item in document["output"]]
    parts = [_mapping(part) for item in items for part in _list(item.get("content"))]
    calls = [item for item in items if item.get("type") == "function_call"]
    why = _mapping(document.get("incomplete_details")).get("reason")
    reason = _ENDS.get(str(why), str(why)) if why else "tool_calls" if calls else "stop"
    logprobs = [entry for part in parts for entry in _list(part.get("logprobs"))]
    return Said(
        "".join(_text(part.get("text")) for part in parts if part.get("type") == "output_text"),
        tuple(ToolCall(_text(call.get("name")), _text(call.get("arguments"))) for call in calls),
        reason,
        any(part.get("type") == "refusal" for part in parts) or why == "content_filter",
        *_probabilities(logprobs),
        output_tokens=n_tokens,
    )


def _content(document: Mapping[str, Any], n_tokens: int | None) -> Said:
    blocks = [_mapping(block) for block in document["content"]]
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    why = document.get("stop_reason")
    reasons = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", **_ENDS}
    return Said(
        "".join(_text(block.get("text")) for block in blocks if block.get("type") == "text"),
        tuple(ToolCall(_text(call.get("name")), _arguments(call.get("input"))) for call in calls),
        reasons.get(str(why), str(why)) if why else None,
        why == "refusal",
        output_tokens=n_tokens,
    )


class StreamReader:
    """Assembles the events of a stream so far into a document that `read_said` reads."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._response: Mapping[str, Any] | None = None
        self._stop: Any = None
        self._usage: dict[str, Any] = {}
        self._heard = TextSample()
        self.has_tool_calls = False

    def n_tokens(self) -> int:
        """Approximate number of tokens of text so far."""
        return self._heard.n_tokens()

    def see(self, data: bytes) -> None:
        """Reads the data of one event; anything but a JSON object is ignored."""
        try:
            event = read_json(data)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        kind = event.get("type")
        if isinstance(event.get("choices"), list):
            for choice in event["choices"]:
                self._see_choice(_mapping(choice))
        elif isinstance(kind, str):
            self._see_typed(kind, event)
        self._usage.update({k: v for k, v in _mapping(event.get("usage")).items() if v is not None})

    def document(self) -> Mapping[str, Any]:
        """The answer so far, as a whole answer."""
        if self._response is not None:
            return self._response
        if self._blocks or self._stop is not None:
            blocks = [block for _, block in sorted(self._blocks.items())]
            return {"content": blocks, "stop_reason": self._stop, "usage": self._usage}
        if self._texts:
            parts = [{"type": "output_text", "text": text} for _, text in sorted(self._texts.items())]
            return {"output": [{"type": "message", "content": parts}], "usage": self._usage}
        return {"choices": [choice for _, choice in sorted(self._choices.items())], "usage": self._usage}

    def _see_choice(self, choice: Mapping[str, Any]) -> None:
        place = choice.get("index")
        whole = self._choices.setdefault(
            place if isinstance(place, int) else 0,
            {"message": {"content": "", "tool_calls": []}, "finish_reason": None, "logprobs": {"content": []}},
        )
        delta, message = _mapping(choice.get("delta")), whole["message"]
        said = _text(delta.get("content"))
        message["content"] += said
        self._heard.add(said)
        if delta.get("refusal"):
            message["refusal"] = True
        for call in _list(delta.get("tool_calls")):
            self.has_tool_calls = True
            _add_call(message["tool_calls"], _mapping(call))
        whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
        whole["logprobs"]["content"] += _list(_mapping(choice.get("logprobs")).get("content"))

    def _see_typed(self, kind: str, event: Mapping[str, Any]) -> None:
        index = event.get("index", event.get("output_index"))
        place = index if isinstance(index, int) else 0
        if kind in ("response.completed", "response.incomplete"):
            self._response = _mapping(event.get("response"))
        elif kind == "response.output_text.delta":
            part = event.get("content_index")
            where = (place, part if isinstance(part, int) else 0)
            self._texts[where] = self._texts.get(where, "") + _text(event.get("delta"))
            self._heard.add(_text(event.get("delta")))
        elif kind in ("response.function_call_arguments.delta", "response.output_item.added"):
            self.has_tool_calls |= "arguments" in kind or _mapping(event.get("item")).get("type") == "function_call"
        elif kind == "content_block_start":
            block = dict(_mapping(event.get("content_block")))
            self._blocks[place] = {**block, "input": ""} if block.get("type") == "tool_use" else block
            self.has_tool_calls |= block.get("type") == "tool_use"
        elif kind == "content_block_delta":
            block, delta = self._blocks.setdefault(place, {}), _mapping(event.get("delta"))
            for name, part_name in (("text", "text"), ("partial_json", "input")):
                if name in delta:
                    if name == "text":
                        self._heard.add(_text(delta[name]))
                    block[part_name] = _text(block.get(part_name)) + _text(delta[name])
        elif kind == "message_delta":
            self._stop = _mapping(event.get("delta")).get("stop_reason") or self._stop


def _add_call(calls: list[dict[str, Any]], call: Mapping[str, Any]) -> None:
    place = call.get("index")
    place = place if isinstance(place, int) and 0 <= place < 1000 else len(calls)
    while len(calls) <= place:
        calls.append({"function": {"name": "", "arguments": ""}})
    function = _mapping(call.get("function"))
    for name in ("name", "arguments"):
        calls[place]["function"][name] += _text(function.get(name))


def _probabilities(entries: Sequence[Any]) -> tuple[tuple[float, ...], float | None]:
    """Log-probabilities of the tokens, and the first one's margin over its runner-up."""
    found = [_mapping(entry) for entry in entries]
    values = [entry.get("logprob") for entry in found]
    numbers = tuple(min(0.0, float(value)) for value in values if isinstance(value, int | float))
    if not numbers or len(numbers) < len(found):
        return (), None
    others = sorted(
        (float(_mapping(top).get("logprob", -20.0)) for top in _list(found[0].get("top_logprobs"))), reverse=True
    )
    return numbers, others[0] - others[1] if len(others) > 1 else None


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(value, str):
        return value
    return "".join(_text(_mapping(part).get("text")) for part in value) if isinstance(value, list) else ""
