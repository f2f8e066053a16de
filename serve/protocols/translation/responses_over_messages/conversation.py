"""The input of the Responses API as turns of the Messages API, and their system prompt."""

from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.read_json import read_json
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
from pointsman.serve.protocols.translation.read import Document, Untranslatable, items, string
from pointsman.serve.protocols.translation.responses_over_messages.tools import SEARCH, sent_name
from pointsman.serve.protocols.translation.tools import arguments_object, fit_id
from pointsman.serve.protocols.write_json import write_json

__all__ = ["input_turns", "sealed"]

_SEAL = "pointsman:"  # before what an answer carries of a model's thoughts for the turns to come
_TEXTS = ("input_text", "output_text", "text", "summary_text")
_INSTRUCTIONS = ("system", "developer")


def input_turns(given: object, instructions: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system prompt's blocks and the messages.

    Raises:
        Untranslatable: an item cannot be expressed, or nothing is said.
        RequestError: they are malformed.
    """
    system = [] if instructions is None else _blocks(instructions, "instructions")
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    if isinstance(given, str):
        turns.append(("user", _blocks(given, "input")))
    else:
        for i, one in enumerate(items(given, "input")):
            where = f"input[{i}]"
            if one.get("role") in _INSTRUCTIONS and one.get("type", "message") == "message":
                system += _blocks(one.get("content"), f"{where}.content")
            else:
                turns.append(_turn(one, where))
    if not any(blocks for _, blocks in turns):
        system, turns = [], [("user", system)]
    messages = merge_turns(turns)
    if not messages:
        raise Untranslatable("input holds no text, which Anthropic's Messages API wants", param="input")
    return system, messages


def sealed(block: Document) -> str:
    """A block of thinking as the `encrypted_content` of a reasoning item."""
    return _SEAL + write_json(signed_thought(block)).decode()


def unsealed(content: object) -> dict[str, Any] | None:
    """The block of thinking in an `encrypted_content`; None where another service made that."""
    if not isinstance(content, str) or not content.startswith(_SEAL):
        return None
    try:
        return signed_thought(read_json(content[len(_SEAL) :]))
    except ValueError:
        return None


def _turn(one: Document, where: str) -> tuple[str, list[dict[str, Any]]]:
    kind = one.get("type", "message")
    if kind == "message":
        role = one.get("role")
        if role not in ("user", "assistant"):
            raise RequestError(f"{where}.role is {role!r}, wanted one of the Responses API's", param=f"{where}.role")
        return role, _blocks(one.get("content"), f"{where}.content")
    if kind in ("function_call", "custom_tool_call"):
        return "assistant", [_use(one, where, is_custom=kind == "custom_tool_call")]
    if kind in ("function_call_output", "custom_tool_call_output"):
        call = fit_id(string(one.get("call_id"), f"{where}.call_id"))
        return "user", [tool_result_block(call, _blocks(one.get("output"), f"{where}.output"))]
    if kind == "reasoning":
        thought = unsealed(one.get("encrypted_content"))
        return "assistant", [thought] if thought else []
    if kind == f"{SEARCH}_call":
        return "assistant", []  # what came of it is in the text
    raise Untranslatable(f"{where} is of type {kind!r}, which Anthropic's Messages API does not have", param=where)


def _use(call: Document, where: str, *, is_custom: bool) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": fit_id(string(call.get("call_id"), f"{where}.call_id")),
        "name": sent_name(string(call.get("name"), f"{where}.name"), call.get("namespace")),
        "input": {INPUT: call.get("input") or ""} if is_custom else arguments_object(call.get("arguments")),
    }


def _blocks(content: object, where: str) -> list[dict[str, Any]]:
    return content_blocks(content, where, _block)


def _block(part: Document, where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXTS:
        return text_block(string(part.get("text"), f"{where}.text"), part)
    if kind == "refusal":
        return text_block(string(part.get("refusal"), f"{where}.refusal"), part)
    if kind == "input_image" and part.get("image_url") is not None:
        return image_block(part["image_url"], f"{where}.image_url")
    if kind == "input_file":
        return file_block(part, where)
    what = "an image held by OpenAI's API" if kind == "input_image" else f"of type {kind!r}"
    raise Untranslatable(f"{where} is {what}, which Anthropic's Messages API does not have", param=where)
