"""The messages of the chat API as turns of the Messages API, and their system prompt.

Neighbouring messages of one role are one turn; all results of one answer's calls stand first in the turn that follows.
Instructions in the midst of a conversation are told at its beginning.
"""

from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.translation.blocks import (
    content_blocks,
    file_block,
    image_block,
    merge_turns,
    signed_thought,
    text_block,
    tool_result_block,
)
from pointsman.serve.protocols.translation.custom_tools import INPUT
from pointsman.serve.protocols.translation.read import Document, Untranslatable, item, items, string
from pointsman.serve.protocols.translation.tools import arguments_object, fit_id, fit_name

__all__ = ["message_turns"]

_TEXTS = ("text", "input_text", "output_text")
_INSTRUCTIONS = ("system", "developer")


def message_turns(given: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system prompt's blocks and the messages.

    Raises:
        Untranslatable: a part cannot be expressed, or nothing is said.
        RequestError: they are malformed.
    """
    if not isinstance(given, list) or not given:
        raise RequestError(
            "messages is not an array or is empty, wanted the messages of a conversation", param="messages"
        )
    system: list[dict[str, Any]] = []
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    for i, message in enumerate(items(given, "messages")):
        where, role = f"messages[{i}]", message.get("role")
        if role in _INSTRUCTIONS:
            system += _blocks(message.get("content"), f"{where}.content")
        elif role == "user":
            turns.append(("user", _blocks(message.get("content"), f"{where}.content")))
        elif role == "assistant":
            turns.append(("assistant", _assistant(message, where)))
        elif role in ("tool", "function"):
            turns.append(("user", [_result(message, where)]))
        else:
            raise RequestError(f"{where}.role is {role!r}, wanted one of the chat API's", param=f"{where}.role")
    if not any(blocks for _, blocks in turns):  # instructions alone are what is asked
        system, turns = [], [("user", system)]
    messages = merge_turns(turns)
    if not messages:
        raise Untranslatable("messages hold no text, which Anthropic's Messages API wants", param="messages")
    return system, messages


def _blocks(content: object, where: str) -> list[dict[str, Any]]:
    return content_blocks(content, where, _block)


def _block(part: Document, where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXTS:
        return text_block(string(part.get("text"), f"{where}.text"), part)
    if kind == "refusal":
        return text_block(string(part.get("refusal"), f"{where}.refusal"), part)
    if kind == "image_url":
        image = part.get("image_url")
        return image_block(image.get("url") if isinstance(image, dict) else image, f"{where}.image_url.url")
    if kind == "file":
        return file_block(item(part.get("file"), f"{where}.file"), f"{where}.file")
    raise Untranslatable(f"{where} is of type {kind!r}, which Anthropic's Messages API does not have", param=where)


def _assistant(message: Document, where: str) -> list[dict[str, Any]]:
    thoughts = message.get("thinking_blocks")  # as they were given in an answer
    blocks = list(filter(None, map(signed_thought, thoughts))) if isinstance(thoughts, list) else []
    blocks += _blocks(message.get("content"), f"{where}.content")
    if not message.get("content") and isinstance(message.get("refusal"), str) and message["refusal"].strip():
        blocks.append(text_block(message["refusal"], {}))
    for i, call in enumerate(items(message.get("tool_calls"), f"{where}.tool_calls")):
        blocks.append(_tool_use(call, f"{where}.tool_calls[{i}]"))
    if message.get("function_call") is not None:
        function = item(message["function_call"], f"{where}.function_call")
        name = string(function.get("name"), f"{where}.function_call.name")
        blocks.append(_use(f"function_{name}", name, arguments_object(function.get("arguments"))))
    return blocks


def _tool_use(call: Document, where: str) -> dict[str, Any]:
    identifier = string(call.get("id"), f"{where}.id")
    if call.get("type") == "custom":
        custom = item(call.get("custom"), f"{where}.custom")
        return _use(identifier, string(custom.get("name"), f"{where}.custom.name"), {INPUT: custom.get("input") or ""})
    function = item(call.get("function"), f"{where}.function")
    name = string(function.get("name"), f"{where}.function.name")
    return _use(identifier, name, arguments_object(function.get("arguments")))


def _use(identifier: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": fit_id(identifier), "name": fit_name(name), "input": given}


def _result(message: Document, where: str) -> dict[str, Any]:
    if message.get("role") == "function":  # as functions once were: known by their name alone
        identifier = f"function_{string(message.get('name'), f'{where}.name')}"
    else:
        identifier = string(message.get("tool_call_id"), f"{where}.tool_call_id")
    return tool_result_block(fit_id(identifier), _blocks(message.get("content"), f"{where}.content"))
