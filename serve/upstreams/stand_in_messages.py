"""The stand-ins' words as Anthropic's Messages API would say them."""

import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import orjson

__all__ = ["message", "message_events"]


def message(text: str, model: str, *, tokens: tuple[int, int]) -> dict[str, Any]:
    """A whole message; `tokens` are of the request and of the text."""
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": tokens[0], "output_tokens": tokens[1]},
    }


async def message_events(text: str, model: str, *, tokens: tuple[int, int]) -> AsyncGenerator[bytes, None]:
    """The same as a stream, word by word."""
    for event in _events(text, model, tokens):
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode("ascii"), orjson.dumps(event))


def _events(text: str, model: str, tokens: tuple[int, int]) -> Iterator[dict[str, Any]]:
    yield {
        "type": "message_start",
        "message": {**message(text, model, tokens=tokens), "content": [], "stop_reason": None},
    }
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in re.findall(r"\S+\s*", text):
        delta = {"type": "text_delta", "text": word}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": tokens[1]}}
    yield {"type": "message_stop"}
