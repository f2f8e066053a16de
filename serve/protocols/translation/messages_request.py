"""A request to Anthropic's Messages API, from either of OpenAI's APIs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.translation.claude import SAMPLING, claude, thinking
from pointsman.serve.protocols.translation.read import Document, Untranslatable, integer, item, string
from pointsman.serve.protocols.translation.schemas import claude_schema, schema_instruction
from pointsman.serve.protocols.translation.tools import object_schema

__all__ = ["HINTS", "SERVICE", "Question", "capped", "stop_sequences", "write_request"]

SERVICE = "Anthropic's Messages API"
# What a model may refuse and the answer does not hang on: it is asked again without.
HINTS = ("thinking", "output_config.effort", "metadata", "temperature", "top_p", "top_k")
_MAX_USER = 256


@dataclass(frozen=True, slots=True)
class Question:
    """The request.

    Attributes:
        model: the `model` field.
        system: blocks of the system prompt.
        messages: the turns.
        tools: in Anthropic's form.
        tool_choice: {"tool_choice": ...}, or nothing.
        max_tokens: of the answer; None leaves it to the model.
        form: {"type": "json_object"}, or {"type": "json_schema", "schema": ...}; None is plain text.
        effort: how much to think, as OpenAI names it; None leaves it to the model.
        user: an id of the user.
        others: parameters that are passed unchanged.
    """

    model: object
    system: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    tool_choice: Mapping[str, Any]
    max_tokens: object = None
    form: Document | None = None
    effort: object = None
    user: object = None
    others: Mapping[str, Any] = field(default_factory=dict)


def write_request(question: Question, service_model: str) -> dict[str, Any]:
    """The request.

    Args:
        service_model: the service's name of its model: some support less than others.

    Raises:
        Untranslatable: something in it cannot be expressed.
        RequestError: the request is malformed.
    """
    known = claude(service_model)
    limit = question.max_tokens
    max_tokens = known.most_tokens if limit is None else integer(limit, "max_tokens")
    request: dict[str, Any] = {"model": question.model, "messages": question.messages, "max_tokens": max_tokens}
    request |= {k: v for k, v in question.others.items() if k not in SAMPLING or k in known.samples}
    if "temperature" in request:  # models from 4.1 on take one of the two
        request.pop("top_p", None)
    if question.tools:
        request |= {"tools": question.tools, **question.tool_choice}
    else:
        request |= _named_tools(question.messages)
    system, config = _held_to(question, holds_schema=known.holds_schema)
    if system:
        request["system"] = system
    if question.effort is not None and "thinking" not in request:
        effort = string(question.effort, "reasoning_effort")
        told = thinking(effort, known, max_tokens=max_tokens, is_free=_is_free_to_think(request))
        config |= told.pop("output_config", {})
        request |= told
    if config:
        request["output_config"] = config
    if question.user:
        request["metadata"] = {"user_id": _fit_user(string(question.user, "user"))}
    return request


def capped(temperature: object) -> float | int:
    """At most 1, as in Anthropic's own translation: OpenAI's range ends at 2.

    Raises:
        RequestError: it is not a number, or negative.
    """
    if not isinstance(temperature, (int, float)) or isinstance(temperature, bool) or temperature < 0:
        raise RequestError(f"temperature is {temperature!r}, wanted a number in [0, 2]", param="temperature")
    return min(temperature, 1)


def stop_sequences(given: object, where: str) -> dict[str, Any]:
    """`stop_sequences` without empty ones, if any are left.

    Raises:
        Untranslatable: one is only white space, which Anthropic's API rejects.
    """
    if given is None:
        return {}
    if not isinstance(given, (str, list)):
        raise RequestError(f"{where} is neither a string nor an array of strings", param=where)
    stops = [given] if isinstance(given, str) else [string(stop, f"{where}[{i}]") for i, stop in enumerate(given)]
    for stop in filter(None, stops):
        if not stop.strip():
            raise Untranslatable(
                f"{where} holds {stop!r}: {SERVICE} does not accept stop sequences that are only white space",
                param=where,
            )
    return {"stop_sequences": list(filter(None, stops))} if any(stops) else {}


def _held_to(question: Question, *, holds_schema: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The system prompt and `output_config` that constrain an answer to its form.

    A model that cannot be constrained to a schema is told it: it may still call tools, and nothing is forced.
    """
    form = question.form
    if form is None:
        return question.system, {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    if schema is not None and holds_schema:
        written = claude_schema(schema, "the schema of the answer")
        return question.system, {"format": {"type": "json_schema", "schema": written}}
    return [*question.system, {"type": "text", "text": schema_instruction(schema)}], {}


def _named_tools(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Tools that a conversation calls, if the request names none: their calls require definitions."""
    names = [block["name"] for turn in messages for block in turn["content"] if block["type"] == "tool_use"]
    tools = [{"name": name, "input_schema": object_schema(None)} for name in dict.fromkeys(names)]
    return {"tools": tools, "tool_choice": {"type": "none"}} if tools else {}


def _is_free_to_think(request: Document) -> bool:
    """Whether a model may think with a budget: no forced tool, no temperature, no tool loop without its thinking."""
    choice = item(request.get("tool_choice", {}), "tool_choice").get("type")
    if choice in ("any", "tool") or "temperature" in request or "top_k" in request:
        return False
    turns = [turn["content"] for turn in request["messages"] if turn["role"] == "assistant"]
    last = turns[-1] if turns else []
    calls = any(block["type"] == "tool_use" for block in last)
    return not calls or last[0]["type"] in ("thinking", "redacted_thinking")


def _fit_user(user: str) -> str:
    return user if len(user) <= _MAX_USER else hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
