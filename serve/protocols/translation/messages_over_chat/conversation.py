"""The turns of the Messages API as those of the chat API.

A turn of the user that brings tools' results becomes one message for each result, which must follow the calls at once,
and one for what else it holds: images and files of results are there, too, as a result of the chat API is text. What a
model thought is another model's to read only where its service wants it.
"""

from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.translation.documents import document_part, image_part, search_result_text, text_part
from pointsman.serve.protocols.translation.read import Document, Untranslatable, item, items, string
from pointsman.serve.protocols.translation.tools import arguments_text, fit_id, fit_name

__all__ = ["OWN_SIGNATURE", "chat_messages", "system_messages"]

OWN_SIGNATURE = "pointsman:"  # begins the signature of what a service of this API thought
_THOUGHTS = ("thinking", "redacted_thinking")
_ERROR = "Error: "  # before a result that tells one


def system_messages(system: object) -> list[dict[str, Any]]:
    """The system prompt as a message; none where it is empty."""
    text = _text(system, "system")
    return [{"role": "system", "content": text}] if text else []


def chat_messages(given: object, *, keep_reasoning: bool) -> list[dict[str, Any]]:
    """The turns.

    Raises:
        Untranslatable: a block cannot be expressed.
        RequestError: they are malformed.
    """
    if not isinstance(given, list) or not given:
        raise RequestError("messages is not an array or is empty, wanted the turns of a conversation", param="messages")
    messages: list[dict[str, Any]] = []
    for i, message in enumerate(items(given, "messages")):
        where, role = f"messages[{i}]", message.get("role")
        if role == "user":
            messages += _user(message.get("content"), f"{where}.content")
        elif role == "assistant":
            messages += _assistant(message.get("content"), f"{where}.content", keep_reasoning=keep_reasoning)
        elif role == "system":
            messages += system_messages(message.get("content"))
        else:
            raise RequestError(f"{where}.role is {role!r}, wanted user or assistant", param=f"{where}.role")
    return messages


def _user(content: object, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for i, block in enumerate(items(content, where)):
        if block.get("type") == "tool_result":
            result, further = _result(block, f"{where}[{i}]")
            results.append(result)
            parts += further
        else:
            parts += _parts(block, f"{where}[{i}]")
    return results + ([{"role": "user", "content": _plain(parts)}] if parts else [])


def _result(block: Document, where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A tool's result, and its parts that are not text."""
    call = fit_id(string(block.get("tool_use_id"), f"{where}.tool_use_id"))
    content = block.get("content")
    parts = [text_part(content)] if isinstance(content, str) else []
    if not isinstance(content, str):
        for i, inner in enumerate(items(content, f"{where}.content")):
            parts += _parts(inner, f"{where}.content[{i}]")
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    further = [part for part in parts if part["type"] != "text"]
    if further:
        note = f"(Its {len(further)} images or files follow the results.)"
        text = f"{text}\n{note}" if text else note
        further.insert(0, text_part(f"Images or files of the result of {call}:"))
    return {
        "role": "tool",
        "tool_call_id": call,
        "content": f"{_ERROR if block.get('is_error') else ''}{text}",
    }, further


def _parts(block: Document, where: str) -> list[dict[str, Any]]:
    kind = block.get("type")
    if kind == "text":
        return [text_part(string(block.get("text"), f"{where}.text"))]
    if kind == "image":
        return [image_part(block, where)]
    if kind == "document":
        return document_part(block, where)
    if kind == "search_result":
        return [text_part(search_result_text(block, where))]
    if kind == "tool_reference":
        return [text_part(f"(tool: {block.get('tool_name')})")]
    raise Untranslatable(f"{where} is of type {kind!r}, which OpenAI's chat API does not have", param=where)


def _assistant(content: object, where: str, *, keep_reasoning: bool) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": "assistant", "content": content}]
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for i, block in enumerate(items(content, where)):
        kind, here = block.get("type"), f"{where}[{i}]"
        if kind == "text":
            texts.append(string(block.get("text"), f"{here}.text"))
        elif kind == "tool_use":
            calls.append(_call(block, here))
        elif kind == "thinking" and str(block.get("signature")).startswith(OWN_SIGNATURE):
            thoughts.append(str(block.get("thinking") or ""))
        elif kind not in _THOUGHTS:
            raise Untranslatable(f"{here} is of type {kind!r}, which OpenAI's chat API does not have", param=here)
    if not texts and not calls:
        return []
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if calls:
        message["tool_calls"] = calls
    if keep_reasoning and thoughts:
        message["reasoning_content"] = "".join(thoughts)
    return [message]


def _call(block: Document, where: str) -> dict[str, Any]:
    function = {
        "name": fit_name(string(block.get("name"), f"{where}.name")),
        "arguments": arguments_text(item(block.get("input", {}), f"{where}.input")),
    }
    return {"id": fit_id(string(block.get("id"), f"{where}.id")), "type": "function", "function": function}


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Parts that are text alone as one text, which every service takes."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _text(content: object, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(string(part.get("text"), f"{where}[{i}].text") for i, part in enumerate(items(content, where)))
