"""A message of Anthropic's API as a response of OpenAI's."""

import secrets
from typing import Any

from pointsman.serve.protocols.translation.blocks import answer_blocks
from pointsman.serve.protocols.translation.custom_tools import custom_input
from pointsman.serve.protocols.translation.message_events import thought_tokens
from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.translation.responses_over_messages.conversation import sealed
from pointsman.serve.protocols.translation.responses_over_messages.tools import SEARCH, Named, named_tools_of
from pointsman.serve.protocols.translation.tools import arguments_text
from pointsman.serve.protocols.usage import Usage, read_usage

__all__ = ["ending", "joined", "output_item", "response", "response_head", "response_usage"]

_THOUGHTS = ("thinking", "redacted_thinking")
_INCOMPLETE = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
_ECHOED = ("instructions", "max_output_tokens", "max_tool_calls", "metadata", "reasoning", "safety_identifier", "text",
           "top_p", "temperature", "user", "prompt_cache_key", "previous_response_id")  # fmt: skip


def response(message: Document, asked: Document, *, created: int) -> dict[str, Any]:
    """The response that says the same.

    Args:
        message: the service's answer.
        asked: the client's request.
        created: Unix time in seconds.

    Raises:
        UpstreamFailure: it is not a message.
    """
    named = named_tools_of(asked)
    made = [output_item(block, named) for block in answer_blocks(message)]
    usage = response_usage(read_usage(message.get("usage")), message.get("usage"))
    head = response_head(message, asked, created)
    return {**head, **ending(message.get("stop_reason")), "output": joined(list(filter(None, made))), "usage": usage}


def response_head(message: Document, asked: Document, created: int) -> dict[str, Any]:
    """A response that has just begun."""
    told = {name: asked.get(name) for name in _ECHOED}
    return {
        "id": f"resp_{message.get('id') or secrets.token_hex(12)}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        **told,
        "metadata": asked.get("metadata") or {},
        "model": message.get("model") or asked.get("model"),
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "store": False,
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "truncation": "disabled",
        "usage": None,
    }


def ending(stop: object) -> dict[str, Any]:
    """`status` and `incomplete_details` for a `stop_reason`."""
    reason = _INCOMPLETE.get(str(stop))
    if reason is None:
        return {"status": "completed"}
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


def response_usage(usage: Usage | None, told: object = None) -> dict[str, Any]:
    """The tokens in the Responses API's words.

    Args:
        told: in the service's words, from which the thoughts' share is read.
    """
    counted = usage or Usage(0, 0)
    return {
        "input_tokens": counted.input_tokens,
        "input_tokens_details": {
            "cached_tokens": counted.cached_tokens,
            "cache_write_tokens": counted.cache_write_tokens,
        },
        "output_tokens": counted.output_tokens,
        "output_tokens_details": {"reasoning_tokens": thought_tokens(told)},
        "total_tokens": counted.input_tokens + counted.output_tokens,
    }


def output_item(block: Document, named: Named, *, status: str = "completed") -> dict[str, Any] | None:
    """A block as an item of the output; None where there is none for it, as for a search's results.

    Args:
        named: the client's tools by the names under which they were sent.
        status: in_progress, completed or incomplete.
    """
    kind = block.get("type")
    if kind == "text":
        part = {"type": "output_text", "text": str(block.get("text") or ""), "annotations": [], "logprobs": []}
        return {"id": _new("msg"), "type": "message", "role": "assistant", "status": status, "content": [part]}
    if kind in _THOUGHTS:
        text = block.get("thinking")
        summary = [{"type": "summary_text", "text": str(text)}] if text else []
        return {"id": _new("rs"), "type": "reasoning", "summary": summary, "encrypted_content": sealed(block)}
    if kind == "tool_use":
        return _call(block, named, status)
    if kind == "server_tool_use" and block.get("name") == SEARCH:
        given = block.get("input")
        query = str(given.get("query") or "") if isinstance(given, dict) else ""
        action = {"type": "search", "query": query, "queries": [query]}
        return {"id": _new("ws"), "type": f"{SEARCH}_call", "status": status, "action": action}
    return None


def joined(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items; texts that follow each other, as those with citations do, are one message."""
    made: list[dict[str, Any]] = []
    for one in output:
        if made and one["type"] == made[-1]["type"] == "message":
            made[-1]["content"][0]["text"] += one["content"][0]["text"]
        else:
            made.append(one)
    return made


def _call(block: Document, named: Named, status: str) -> dict[str, Any]:
    sent = str(block.get("name") or "")
    name, namespace, custom = named.get(sent, (sent, None, False))
    call_id = str(block.get("id") or _new("call"))
    call = {"call_id": call_id, "name": name, **({"namespace": namespace} if namespace else {}), "status": status}
    if custom:
        return {"id": _new("ctc"), "type": "custom_tool_call", **call, "input": custom_input(block.get("input"))}
    return {"id": _new("fc"), "type": "function_call", **call, "arguments": arguments_text(block.get("input"))}


def _new(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"
