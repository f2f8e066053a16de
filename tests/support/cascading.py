"""An upstream of a cheap and a dear model that does what a prompt says, and keeps a ledger of what it charged.

The prompt is JSON: {"small": act, "big": act, "id": ...}. An act may hold `text`, `sure` (probability of each token),
`finish`, `status`, `tools` (names and arguments), `n_tokens`, `cut` (the stream breaks), `hang` (never answers).
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

__all__ = ["PRICES", "CascadingUpstream", "ask", "texts"]

PRICES = {
    "small-1": ("0.5", "1.5"),
    "middle-1": ("2", "6"),
    "big-1": ("10", "30"),
}  # dollars per million tokens read and written


@dataclass
class CascadingUpstream:
    """What it was asked, and what it charged.

    Attributes:
        ledger: dollars by model.
        refuses: models that refuse to tell log-probabilities.
        received: documents, oldest first.
        running: requests that hang, by model; those that were hung up on are counted in `left`.
    """

    ledger: Counter[str] = field(default_factory=Counter)
    refuses: set[str] = field(default_factory=set)
    received: list[dict[str, Any]] = field(default_factory=list)
    running: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    delay_s: float = 0.0

    def app(self) -> Starlette:
        """The ASGI application."""
        paths = ("chat/completions", "responses", "messages")
        return Starlette(routes=[Route(f"/v1/{path}", self._answer, methods=["POST"]) for path in paths])

    def asked(self, model: str) -> list[dict[str, Any]]:
        """What one model was sent."""
        return [document for document in self.received if document["model"] == model]

    async def _answer(self, request: Request) -> Response:
        document = await request.json()
        model, kind = document["model"], request.url.path.rpartition("/")[2]
        self.received.append(document)
        act = json.loads(_prompt(document)).get(model.removesuffix("-1"), {})
        logprobs = bool(document.get("logprobs") or document.get("include"))
        if logprobs and model in self.refuses:
            return _error(400, "Unrecognized request argument supplied: logprobs")
        if act.get("hang"):
            await self._hang(request, model)
        await asyncio.sleep(self.delay_s)
        if "status" in act:
            return _error(act["status"], "no")
        tokens = (7, act.get("n_tokens", len(texts(act))))
        if document.get("stream"):
            events = self._events(kind, model, act, logprobs, tokens)
            return StreamingResponse(events, media_type="text/event-stream")
        self._charge(model, tokens)
        whole = {"completions": _chat, "responses": _response, "messages": _message}[kind]
        return JSONResponse(whole(document, act, logprobs, tokens))

    def _charge(self, model: str, tokens: tuple[int, int]) -> None:
        read, written = (Decimal(price) for price in PRICES[model])
        self.ledger[model] += (tokens[0] * read + tokens[1] * written) / 1_000_000  # type: ignore[assignment]

    async def _hang(self, request: Request, model: str) -> None:
        """Waits for the client to leave."""
        self.running[model] += 1
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.left[model] += 1

    async def _events(
        self, kind: str, model: str, act: dict[str, Any], logprobs: bool, tokens: tuple[int, int]
    ) -> AsyncIterator[bytes]:
        events = {"completions": _chat_events, "responses": _response_events, "messages": _message_events}[kind]
        for event in events(act, logprobs, tokens):
            if act.get("cut") and event is _CUT:
                return
            if event is not _CUT:
                yield event
            await asyncio.sleep(act.get("pause_s", 0.0))
        self._charge(model, tokens)


def ask(prompt: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A chat request that the router sends to the cheap model."""
    message = {"role": "user", "content": json.dumps(prompt)}
    return {"model": "router-random", "messages": [message], **fields}


def texts(act: dict[str, Any]) -> list[str]:
    """The pieces of an answer's text, a token each."""
    words = act.get("text", "It is fine.").split(" ")
    return [word + " " for word in words[:-1]] + [words[-1]] if not act.get("tools") else []


_CUT = b"cut"


def _prompt(document: dict[str, Any]) -> str:
    given = document.get("input") or document["messages"][-1]["content"]
    return given if isinstance(given, str) else given[0]["text"]


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error", "code": None}}, status)


def _tokens(act: dict[str, Any]) -> list[dict[str, Any]]:
    sure = math.log(act.get("sure", 0.99))
    other = {"token": "other", "logprob": math.log1p(-act.get("sure", 0.99)), "bytes": None}
    return [
        {"token": word, "logprob": sure, "bytes": None, "top_logprobs": [{"token": word, "logprob": sure}, other]}
        for word in texts(act)
    ]


def _calls(act: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(act.get("tools", {}).items())
    ]


def _finish(act: dict[str, Any]) -> str:
    return act.get("finish", "tool_calls" if act.get("tools") else "stop")


def _usage(tokens: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}


def _chat(document: dict[str, Any], act: dict[str, Any], logprobs: bool, tokens: tuple[int, int]) -> dict[str, Any]:
    choices = []
    for index in range(document.get("n") or 1):
        one = act if index == 0 else {**act, **act.get("others", {})}
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts(one)) or None}
        if one.get("tools"):
            message["tool_calls"] = _calls(one)
        told = {"content": _tokens(one), "refusal": None} if logprobs else None
        choices.append({"index": index, "message": message, "finish_reason": _finish(one), "logprobs": told})
    return {"id": "c", "object": "chat.completion", "created": 1, "model": document["model"], "choices": choices,
            "usage": _usage(tokens)}  # fmt: skip


def _response(document: dict[str, Any], act: dict[str, Any], logprobs: bool, tokens: tuple[int, int]) -> dict[str, Any]:
    text = {"type": "output_text", "text": "".join(texts(act)), "annotations": []}
    text["logprobs"] = _tokens(act) if logprobs else []
    items: list[dict[str, Any]] = [
        {"type": "function_call", "id": c["id"], "call_id": c["id"], "status": "completed", **c["function"]}
        for c in _calls(act)
    ] or [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}]
    cut = _finish(act) == "length"
    return {"id": "r", "object": "response", "created_at": 1, "model": document.get("model", "m"), "error": None,
            "status": "incomplete" if cut else "completed", "parallel_tool_calls": True, "tool_choice": "auto",
            "tools": [], "output": items, "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "top_logprobs": 2 if logprobs else 0,
            "usage": {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}}  # fmt: skip


def _message(document: dict[str, Any], act: dict[str, Any], logprobs: bool, tokens: tuple[int, int]) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        {"type": "tool_use", "id": c["id"], "name": c["function"]["name"],
         "input": json.loads(c["function"]["arguments"])} for c in _calls(act)
    ] or [{"type": "text", "text": "".join(texts(act))}]  # fmt: skip
    reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}.get(_finish(act), _finish(act))
    return {"id": "m", "type": "message", "role": "assistant", "model": document.get("model", "m"), "content": blocks,
            "stop_reason": reason, "stop_sequence": None,
            "usage": {"input_tokens": tokens[0], "output_tokens": tokens[1]}}  # fmt: skip


def _event(value: dict[str, Any], name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def _chat_events(act: dict[str, Any], logprobs: bool, tokens: tuple[int, int]) -> list[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None, told: Any = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": told}
        return _event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    events = [chunk({"role": "assistant"})]
    for token in _tokens(act):
        events.append(chunk({"content": token["token"]}, told={"content": [token]} if logprobs else None))
    for i, call in enumerate(_calls(act)):
        arguments = call["function"].pop("arguments")
        events.append(chunk({"tool_calls": [{"index": i, **call}]}))
        for part in (arguments[:3], arguments[3:]):
            events.append(chunk({"tool_calls": [{"index": i, "function": {"arguments": part}}]}))
    usage = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    end = [chunk({}, _finish(act)), _event({**usage, "usage": _usage(tokens)}), b"data: [DONE]\n\n"]
    return [*events, _CUT, *end]


def _response_events(act: dict[str, Any], logprobs: bool, tokens: tuple[int, int]) -> list[bytes]:
    whole = _response({}, act, logprobs, tokens)
    events = [{"type": "response.created", "response": {**whole, "output": [], "usage": None}}]
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    for token in _tokens(act):
        told = [token] if logprobs else []
        events.append({"type": "response.output_text.delta", **place, "delta": token["token"], "logprobs": told})
    for call in _calls(act):
        events.append({"type": "response.function_call_arguments.delta", **place, "delta": call["id"]})
    end = {"type": "response.completed", "response": whole}
    return [*(_event(event, event["type"]) for event in events), _CUT, _event(end, end["type"])]


def _message_events(act: dict[str, Any], logprobs: bool, tokens: tuple[int, int]) -> list[bytes]:
    whole = _message({}, act, logprobs, tokens)
    start = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": tokens[0], "output_tokens": 1}}
    events = [{"type": "message_start", "message": start}]
    for i, block in enumerate(whole["content"]):
        empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        events.append({"type": "content_block_start", "index": i, "content_block": empty})
        if block["type"] == "text":
            deltas = [{"type": "text_delta", "text": word} for word in texts(act)]
        else:
            written = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in (written[:3], written[3:])]
        events += [{"type": "content_block_delta", "index": i, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": i})
    usage = {"output_tokens": tokens[1]}
    end = [
        {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]
    return [*(_event(e, e["type"]) for e in events), _CUT, *(_event(e, e["type"]) for e in end)]
