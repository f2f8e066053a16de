"""Requests in the shapes that agents and chat front ends send, with a prompt in the place of their user's."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

__all__ = ["SHAPES", "Conversation", "Shape"]

_FOLDER = Path(__file__).parents[1] / "serve" / "protocols" / "fixtures"
_PLACE = "%PROMPT%"


@dataclass(frozen=True)
class Shape:
    """One recorded shape.

    Attributes:
        name: of the client and of what it does.
        api: "chat", "responses" or "messages".
        headers: that tell something of the client or the conversation.
        request: the body, its user's words left open.
    """

    name: str
    api: str
    headers: dict[str, str]
    request: dict[str, Any]

    def ask(self, prompt: str, *, model: str | None = None) -> dict[str, Any]:
        """The request in which its user says `prompt`."""
        filled = _fill(self.request, prompt)
        return filled if model is None else {**filled, "model": model}


def _fill(value: Any, prompt: str) -> Any:
    if isinstance(value, str):
        return value.replace(_PLACE, prompt)
    if isinstance(value, list):
        return [_fill(inner, prompt) for inner in value]
    return {key: _fill(inner, prompt) for key, inner in value.items()} if isinstance(value, dict) else value


SHAPES = {path.stem: Shape(path.stem, **json.loads(path.read_text("utf-8"))) for path in sorted(_FOLDER.glob("*.json"))}


class Conversation:
    """One client's session, its history kept as that client keeps it: prompts, the model's answers, tools' results.

    Attributes:
        statuses: of all answers.
        models: who answered each prompt, and then each of its tools' results.
    """

    def __init__(self, http: httpx.Client, name: str, *, model: str = "auto") -> None:
        """Begins a session of a client, e.g. "claude_code"."""
        self._http = http
        self._shape = SHAPES[f"{name}_first"]
        self._model = model
        self._turns: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.models: list[list[str]] = []

    def say(self, prompt: str) -> None:
        """Sends a prompt as the client does, and the results of the tools that the model then calls."""
        request = self._shape.ask(prompt, model=self._model)
        key = "input" if self._shape.api == "responses" else "messages"
        self._turns += request[key] if not self._turns else request[key][-1:]
        self.models.append([])
        while results := self._send({**request, key: self._turns}):
            self._turns += results

    def _send(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Sends the history and adds the answer to it; gives the results of the tools that it calls."""
        path = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
        answered = self._http.post(path[self._shape.api], json=request, headers=self._shape.headers)
        self.statuses.append(answered.status_code)
        if answered.status_code != HTTPStatus.OK:
            return []
        self.models[-1].append(answered.headers["x-pointsman-model"])
        read = {"chat": _chat_turn, "responses": _response_turn, "messages": _message_turn}[self._shape.api]
        made, results = read(_events(answered.text))
        self._turns += made
        return results


def _events(text: str) -> list[dict[str, Any]]:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def _chat_turn(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    said, calls = "", {}
    for delta in [choice["delta"] for event in events for choice in event["choices"]]:
        said += delta.get("content") or ""
        for call in delta.get("tool_calls") or ():
            made = calls.setdefault(call["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
            made |= {"id": call["id"]} if call.get("id") else {}
            for name, value in call.get("function", {}).items():
                made["function"][name] += value or ""
    message = {"role": "assistant", "content": said or None}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "Prove it."} for call in calls.values()]
    return [{**message, "tool_calls": list(calls.values())} if calls else message], results


def _response_turn(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    output = next(event["response"]["output"] for event in events if event["type"] == "response.completed")
    results = [
        {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "Prove it."}
        for item in output
        if item["type"] in ("function_call", "custom_tool_call")
    ]
    return output, results


def _message_turn(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"]})
        elif event["type"] == "content_block_delta":
            for name in ("text", "thinking", "signature"):
                if name in event["delta"]:
                    blocks[-1][name] = blocks[-1].get(name, "") + event["delta"][name]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "Prove it."}
        for block in blocks
        if block["type"] == "tool_use"
    ]
    return [{"role": "assistant", "content": blocks}], [{"role": "user", "content": results}] if results else []
