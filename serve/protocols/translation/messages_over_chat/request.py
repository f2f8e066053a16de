"""A request of Anthropic's Messages API as one of OpenAI's chat API."""

import hashlib
from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.translation.messages_over_chat.conversation import chat_messages, system_messages
from pointsman.serve.protocols.translation.messages_over_chat.parameters import PARAMETERS
from pointsman.serve.protocols.translation.messages_over_chat.service import ChatService
from pointsman.serve.protocols.translation.messages_over_chat.tools import chat_tool_choice, chat_tools
from pointsman.serve.protocols.translation.parameters import select
from pointsman.serve.protocols.translation.read import Document, Untranslatable, integer, item, string

__all__ = ["HINTS", "chat_request"]

# What a service may refuse and the answer does not hang on: it is asked again without.
HINTS = ("reasoning_effort", "user", "top_k", "temperature", "top_p", "parallel_tool_calls")
_SERVICE = "OpenAI's chat API"
_MAX_USER = 64
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}  # which all models know
_LOW_BUDGET, _MEDIUM_BUDGET = 4_096, 16_384  # tokens of thinking up to which an effort is low, or medium


def chat_request(document: Document, service: ChatService) -> dict[str, Any]:
    """The chat request that asks for the same.

    Raises:
        Untranslatable: something that was asked for cannot be expressed.
        RequestError: the request is malformed.
    """
    if document.get("thread") is not None:  # its code lets Anthropic's clients send the whole conversation
        message = "thread is held by Anthropic's API, which this model's service does not speak: send all messages"
        raise Untranslatable(message, param="thread", code="thread_unsupported_request")
    if document.get("max_tokens") is None:
        raise RequestError("max_tokens is missing, wanted the most tokens that the answer may have", param="max_tokens")
    asked = select(document, PARAMETERS, service=_SERVICE)
    messages = chat_messages(asked.get("messages"), keep_reasoning=service.keeps_reasoning)
    request: dict[str, Any] = {"model": asked.get("model"), "messages": system_messages(asked.get("system")) + messages}
    request[service.max_tokens] = integer(document["max_tokens"], "max_tokens")
    request |= {name: asked[name] for name in ("stream", "temperature", "top_p") if name in asked}
    if "top_k" in asked and service.takes_top_k:
        request["top_k"] = asked["top_k"]
    if stops := _stops(asked.get("stop_sequences"), service):
        request["stop"] = stops
    if tools := chat_tools(asked.get("tools")):
        request |= {"tools": tools, **chat_tool_choice(asked.get("tool_choice"))}
    if form := _response_format(asked):
        request["response_format"] = form
    if effort := _effort(asked):
        request["reasoning_effort"] = effort
    if user := item(asked.get("metadata", {}), "metadata").get("user_id"):
        request["user"] = _fit_user(string(user, "metadata.user_id"))
    return request


def _stops(given: object, service: ChatService) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise RequestError("stop_sequences is not an array, wanted an array of strings", param="stop_sequences")
    stops = [string(stop, f"stop_sequences[{i}]") for i, stop in enumerate(given)]
    if service.most_stops is not None and len(stops) > service.most_stops:
        message = f"stop_sequences has {len(stops)} of them, and this model's service takes {service.most_stops}"
        raise Untranslatable(message, param="stop_sequences")
    return stops


def _response_format(asked: Document) -> dict[str, Any] | None:
    given = item(asked.get("output_config", {}), "output_config").get("format") or asked.get("output_format")
    if given is None:
        return None
    form = item(given, "output_config.format")
    if form.get("type") != "json_schema":
        message = f"output_config.format.type is {form.get('type')!r}, wanted 'json_schema'"
        raise Untranslatable(message, param="output_config.format")
    schema = item(form.get("schema"), "output_config.format.schema")
    described = {"name": "answer", "schema": schema, "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": described}


def _is_strict(schema: object) -> bool:
    """Whether a schema is of the kind that OpenAI can hold a model to: every property is required, and no other."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties, required = schema.get("properties") or {}, schema.get("required") or []
        if schema.get("additionalProperties") is not False or sorted(map(str, required)) != sorted(properties):
            return False
    return all(map(_is_strict, schema.values()))


def _effort(asked: Document) -> str | None:
    """How much a model that thinks is to think; None leaves it to the model."""
    thinking = item(asked.get("thinking", {}), "thinking")
    if thinking.get("type") == "disabled":
        return None
    effort = item(asked.get("output_config", {}), "output_config").get("effort")
    if isinstance(effort, str) and effort in _EFFORTS:
        return _EFFORTS[effort]
    if thinking.get("type") != "enabled":
        return None
    budget = integer(thinking.get("budget_tokens"), "thinking.budget_tokens")
    return "low" if budget <= _LOW_BUDGET else "medium" if budget <= _MEDIUM_BUDGET else "high"


def _fit_user(user: str) -> str:
    return user if len(user) <= _MAX_USER else hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
