"""Tools of the chat API as tools of the Messages API."""

from typing import Any

from pointsman.serve.protocols.translation.custom_tools import custom_tool
from pointsman.serve.protocols.translation.read import Document, Untranslatable, item, items, string
from pointsman.serve.protocols.translation.tools import fit_name, object_schema

__all__ = ["custom_names", "message_tool_choice", "message_tools", "original_names"]

_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def message_tools(asked: Document) -> list[dict[str, Any]]:
    """The tools, those of a `tool_choice` that allows some alone.

    Raises:
        Untranslatable: one of them is run by OpenAI, or not known.
    """
    tools = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(items(asked.get("tools"), "tools"))]
    functions = items(asked.get("functions"), "functions")
    tools += [_function(function, f"functions[{i}]") for i, function in enumerate(functions)]
    allowed = _allowed(asked.get("tool_choice"))
    return tools if allowed is None else [tool for tool in tools if tool["name"] in allowed]


def message_tool_choice(asked: Document) -> dict[str, Any]:
    """`tool_choice`, where it asks for more than the default."""
    given = asked.get("tool_choice", asked.get("function_call"))
    choice = {"type": "auto"} if given is None else _choice(given)
    if asked.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice = {**choice, "disable_parallel_tool_use": True}
    return {} if choice == {"type": "auto"} else {"tool_choice": choice}


def original_names(asked: Document) -> dict[str, str]:
    """What the client calls its tools, by the names under which they are sent."""
    names = [_name(tool) for key in ("tools", "functions") for tool in _listed(asked.get(key))]
    return {fit_name(name): name for name in names if name}


def custom_names(asked: Document) -> frozenset[str]:
    """The client's tools that take a text and no object."""
    return frozenset(_name(tool) for tool in _listed(asked.get("tools")) if tool.get("type") == "custom")


def _tool(tool: Document, where: str) -> dict[str, Any]:
    if tool.get("type") == "function":
        return _function(item(tool.get("function"), f"{where}.function"), f"{where}.function")
    if tool.get("type") == "custom":
        return custom_tool(item(tool.get("custom"), f"{where}.custom"), f"{where}.custom")
    message = f"{where}.type is {tool.get('type')!r}, wanted function or custom: this model's service runs no others"
    raise Untranslatable(message, param=where)


def _function(function: Document, where: str) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": fit_name(string(function.get("name"), f"{where}.name"))}
    if isinstance(function.get("description"), str):
        tool["description"] = function["description"]
    tool["input_schema"] = object_schema(function.get("parameters"))
    return tool


def _choice(given: object) -> dict[str, Any]:
    if isinstance(given, str):
        if given not in _CHOICES:
            raise Untranslatable(f"tool_choice is {given!r}, wanted auto, required or none", param="tool_choice")
        return {"type": _CHOICES[given]}
    choice = item(given, "tool_choice")
    if choice.get("type") == "allowed_tools":
        mode = item(choice.get("allowed_tools"), "tool_choice.allowed_tools").get("mode")
        return {"type": "any" if mode == "required" else "auto"}
    named = choice if "name" in choice else item(choice.get(choice.get("type", "function")), "tool_choice")
    return {"type": "tool", "name": fit_name(string(named.get("name"), "tool_choice.name"))}


def _allowed(choice: object) -> set[str] | None:
    """Names of the tools that alone may be called; None where all may."""
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return None
    listed = item(choice.get("allowed_tools"), "tool_choice.allowed_tools").get("tools")
    return {fit_name(_name(tool)) for tool in items(listed, "tool_choice.allowed_tools.tools")}


def _listed(given: object) -> list[Document]:
    return [tool for tool in given if isinstance(tool, dict)] if isinstance(given, list) else []


def _name(tool: Document) -> str:
    inner = tool.get("function") or tool.get("custom") or tool
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else ""
