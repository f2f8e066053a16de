"""An upstream that charges: it keeps a ledger of its own, to the last digit, and misbehaves on request.

What it does with a request stands in the prompt, as "act number words": how it answers, what to tell requests apart by,
and so many words to answer. One word of an answer is one token; tokens of prompts are drawn per number.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

__all__ = ["PRICES", "ChargingUpstream"]

# input, cached input, output: dollars per million
PRICES = {"big-1": ("10", "2.5", "30"), "small-1": ("0.15", "0.075", "0.6")}
WORDS = ("the", "answer", "to", "this", "goes", "on", "for", "a", "while", "in", "few", "words", "and", "then", "ends")


@dataclass
class ChargingUpstream:
    """What it was asked, and what it charged for.

    Attributes:
        ledger: dollars by model, of requests whose usage it told.
        untold: likewise of requests whose client left, or whose stream broke, before it could tell.
        n: requests by act.
        patience_s: for the client of a stream to leave, halfway.
    """

    ledger: dict[str, Decimal] = field(default_factory=dict)
    untold: dict[str, Decimal] = field(default_factory=dict)
    untold_tokens: list[tuple[str, int, int]] = field(default_factory=list)
    n: Counter[str] = field(default_factory=Counter)
    patience_s: float = 60.0
    _seen: Counter[str] = field(default_factory=Counter)

    def app(self) -> Starlette:
        """The ASGI application."""
        paths = ("chat/completions", "responses", "messages", "embeddings")
        return Starlette(routes=[Route(f"/v1/{path}", self._answer, methods=["POST"]) for path in paths])

    def charge(self, model: str, usage: tuple[int, int, int], *, told: bool = True) -> None:
        """Books prompt, cached and answer tokens."""
        prompt, cached, answer = usage
        read, reread, written = (Decimal(price) for price in PRICES[model])
        dollars = ((prompt - cached) * read + cached * reread + answer * written) / 1_000_000
        book = self.ledger if told else self.untold
        book[model] = book.get(model, Decimal(0)) + dollars
        if not told:
            self.untold_tokens.append((model, prompt, answer))

    async def _answer(self, request: Request) -> Response:
        document = await request.json()
        kind, model = request.url.path.rpartition("/")[2], document["model"]
        given = document.get("input") or document["messages"][-1]["content"]
        act, number, words = given.split(" ")[:3]
        self.n[act] += 1
        self._seen[number] += 1
        drawn = random.Random(number)
        prompt = drawn.randint(5, 4000)
        usage = prompt, drawn.choice([0, 0, drawn.randint(0, prompt)]), int(words)
        if kind == "embeddings":
            self.charge(model, (prompt, 0, 0))
            return JSONResponse({"data": [], "usage": {"prompt_tokens": prompt, "total_tokens": prompt}})
        if (act == "retried" and self._seen[number] == 1) or (act == "failed-over" and model == "small-1"):
            return self._fail(model, prompt, charged=drawn.random() < 0.5)
        if document.get("stream"):
            untold = act in ("left", "cut")
            usage = (len(given.split()), 0, int(words)) if untold else usage
            asked = bool((document.get("stream_options") or {}).get("include_usage"))
            events = self._events(kind, model, usage, act=act, asked=asked)
            return StreamingResponse(events, media_type="text/event-stream")
        self.charge(model, usage)
        return JSONResponse({**_whole(kind, int(words)), "model": model, "usage": _usage(kind, usage)})

    def _fail(self, model: str, prompt: int, *, charged: bool) -> Response:
        error = {"message": "overloaded", "type": "server_error", "param": None, "code": "overloaded"}
        if not charged:
            return JSONResponse({"error": error}, 503)
        self.charge(model, (prompt, 0, 0))
        return JSONResponse({"error": error, "usage": {"prompt_tokens": prompt, "completion_tokens": 0}}, 503)

    async def _events(
        self, kind: str, model: str, usage: tuple[int, int, int], *, act: str, asked: bool
    ) -> AsyncIterator[bytes]:
        """The stream; what it charges for when it ends early is the prompt and the words so far."""
        n, told = 0, False
        try:
            for event in _begin(kind, usage):
                yield event
            for word in _words(usage[2]):
                yield _word(kind, word, null_usage=asked)
                n += 1
                if act == "left" and n == usage[2] // 2:
                    await asyncio.sleep(self.patience_s)
                elif act == "cut" and n == usage[2] // 2:
                    return
            told = True
            self.charge(model, usage)
            for event in _end(kind, usage, asked=asked):
                yield event
        finally:
            if not told:
                self.charge(model, (usage[0], usage[1], n), told=False)


def _words(n: int) -> list[str]:
    return [WORDS[i % len(WORDS)] + " " for i in range(n)]


def _whole(kind: str, n: int) -> dict[str, Any]:
    text = "".join(_words(n))
    if kind == "messages":
        return {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
    if kind == "responses":
        return {"output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]}
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


def _usage(kind: str, usage: tuple[int, int, int]) -> dict[str, Any]:
    prompt, cached, answer = usage
    if kind == "messages":
        read = {"cache_read_input_tokens": cached, "cache_creation_input_tokens": 0}
        return {"input_tokens": prompt - cached, "output_tokens": answer, **read}
    if kind == "responses":
        return {"input_tokens": prompt, "output_tokens": answer, "input_tokens_details": {"cached_tokens": cached}}
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer, **details}


def _begin(kind: str, usage: tuple[int, int, int]) -> list[bytes]:
    if kind == "messages":
        return [_event({"type": "message_start", "message": {"usage": {**_usage(kind, usage), "output_tokens": 1}}})]
    if kind == "responses":
        return [_event({"type": "response.created", "response": {}})]
    return [_event({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})]


def _word(kind: str, word: str, *, null_usage: bool) -> bytes:
    if kind == "messages":
        return _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
    if kind == "responses":
        return _event({"type": "response.output_text.delta", "delta": word})
    chunk = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
    return _event({**chunk, "usage": None} if null_usage else chunk)


def _end(kind: str, usage: tuple[int, int, int], *, asked: bool) -> list[bytes]:
    told = _usage(kind, usage)
    if kind == "messages":
        delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": usage[2]}}
        return [_event(delta), _event({"type": "message_stop"})]
    if kind == "responses":
        return [_event({"type": "response.completed", "response": {"usage": told}})]
    last = _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [last, *([_event({"choices": [], "usage": told})] if asked else []), b"data: [DONE]\n\n"]


def _event(value: dict[str, Any]) -> bytes:
    kind = f"event: {value['type']}\n" if "type" in value else ""
    return f"{kind}data: {json.dumps(value)}\n\n".encode()


def config_for(url: str) -> dict[str, Any]:
    """Two models and a translated one at `url`, at the prices that it charges."""
    retry = {"attempts": 1, "base_s": 0.001, "max_s": 0.002}
    models = {}
    for name, upstream_model in (("big", "big-1"), ("small", "small-1")):
        read, cached, written = map(float, PRICES[upstream_model])
        price = {"input_usd_per_million": read, "output_usd_per_million": written}
        price["cached_input_usd_per_million"] = cached
        models[name] = {"base_url": url, "model": upstream_model, "retry": retry, "price": price}
        models[name]["breaker"] = {"failures": 100_000}
    anthropic = {**models["small"], "provider": "anthropic"}
    return {
        "strong": "big",
        "weak": "small",
        "models": {**models, "claude": anthropic},
        "routers": {"random": {}},
        "server": {"log_requests": False},
    }
