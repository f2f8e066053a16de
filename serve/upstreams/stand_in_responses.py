"""The stand-ins' words as OpenAI's Responses API would say them."""

import re
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import orjson

__all__ = ["response", "response_events"]


def response(text: str, model: str, *, tokens: tuple[int, int]) -> dict[str, Any]:
    """A whole response; `tokens` are of the request and of the text."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "status": "completed"}
    usage = {
        "input_tokens": tokens[0],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens[1],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": sum(tokens),
    }
    return {
        "id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": int(time.time()), "status": "completed",
        "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None, "metadata": {},
        "model": model, "output": [{**item, "content": [part]}], "parallel_tool_calls": True,
        "previous_response_id": None, "store": False, "temperature": None, "text": {"format": {"type": "text"}},
        "tool_choice": "auto", "tools": [], "top_p": None, "truncation": "disabled", "usage": usage,
    }  # fmt: skip


async def response_events(text: str, model: str, *, tokens: tuple[int, int]) -> AsyncGenerator[bytes, None]:
    """The same as a stream, word by word."""
    for number, event in enumerate(_events(response(text, model, tokens=tokens), text)):
        numbered = {**event, "sequence_number": number}
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode("ascii"), orjson.dumps(numbered))


def _events(whole: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    item = whole["output"][0]
    part = item["content"][0]
    place = {"output_index": 0, "item_id": item["id"], "content_index": 0}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    opened = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for word in re.findall(r"\S+\s*", text):
        yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": whole}
