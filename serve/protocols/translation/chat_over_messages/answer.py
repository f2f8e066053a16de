"""A message of Anthropic's API as a chat completion."""

import secrets
from typing import Any

from pointsman.serve.protocols.translation.blocks import answer_blocks
from pointsman.serve.protocols.translation.chat_over_messages.tools import custom_names, original_names
from pointsman.serve.protocols.translation.custom_tools import custom_input
from pointsman.serve.protocols.translation.message_events import thought_tokens
from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.translation.tools import arguments_text
from pointsman.serve.protocols.usage import Usage, read_usage

__all__ = ["completion", "completion_head", "completion_usage", "finish_reason", "tool_call"]

_FINISH_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def completion(message: Document, asked: Document, *, created: int) -> dict[str, Any]:
    """The chat completion that says the same.

    Args:
        message: the service's answer.
        asked: the client's request.
        created: Unix time in seconds.

    Raises:
        UpstreamFailure: it is not a message.
    """
    blocks = answer_blocks(message)
    texts = [str(block.get("text") or "") for block in blocks if block.get("type") == "text"]
    refusal = _refusal(message)
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": refusal}
    if thoughts := [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]:
        said["reasoning_content"] = "".join(str(block.get("thinking") or "") for block in thoughts)
        said["thinking_blocks"] = thoughts
    names, customs = original_names(asked), custom_names(asked)
    calls = [tool_call(block, names, customs) for block in blocks if block.get("type") == "tool_use"]
    if calls:
        said["tool_calls"] = calls
    finish = finish_reason(message.get("stop_reason"), has_calls=bool(calls))
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish}
    head = completion_head(message, asked, "chat.completion", created)
    return {
        **head,
        "choices": [choice],
        "usage": completion_usage(read_usage(message.get("usage")), message.get("usage")),
    }


def completion_head(message: Document, asked: Document, kind: str, created: int) -> dict[str, Any]:
    """What a completion or a chunk begins with: id, object, created, model."""
    identifier = str(message.get("id") or secrets.token_hex(12))
    model = message.get("model") or asked.get("model")
    return {"id": f"chatcmpl-{identifier}", "object": kind, "created": created, "model": model}


def completion_usage(usage: Usage | None, told: object = None) -> dict[str, Any]:
    """The tokens in OpenAI's words.

    Args:
        told: in the service's words, from which the thoughts' share is read.
    """
    counted = usage or Usage(0, 0)
    return {
        "prompt_tokens": counted.input_tokens,
        "completion_tokens": counted.output_tokens,
        "total_tokens": counted.input_tokens + counted.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": counted.cached_tokens,
            "cache_write_tokens": counted.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": thought_tokens(told)},
    }


def finish_reason(stop: object, *, has_calls: bool) -> str:
    """`finish_reason` for a `stop_reason`."""
    return _FINISH_REASONS.get(str(stop), "tool_calls" if has_calls and stop is None else "stop")


def tool_call(block: Document, names: dict[str, str], customs: frozenset[str]) -> dict[str, Any]:
    """A call of a tool."""
    sent = str(block.get("name") or "")
    name = names.get(sent, sent)
    identifier = str(block.get("id") or f"call_{secrets.token_hex(12)}")
    if name in customs:
        return {"id": identifier, "type": "custom", "custom": {"name": name, "input": custom_input(block.get("input"))}}
    function = {"name": name, "arguments": arguments_text(block.get("input"))}
    return {"id": identifier, "type": "function", "function": function}


def _refusal(message: Document) -> str | None:
    details = message.get("stop_details")
    told = details.get("explanation") if isinstance(details, dict) else None
    return str(told) if told and message.get("stop_reason") == "refusal" else None
