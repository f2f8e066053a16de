"""Tools of the Messages API as functions of the chat API."""

from typing import Any

from pointsman.serve.protocols.translation.messages_over_chat.client_tools import client_tool
from pointsman.serve.protocols.translation.read import Document, Untranslatable, item, items, string
from pointsman.serve.protocols.translation.tools import fit_name, object_schema

__all__ = ["chat_tool_choice", "chat_tools", "original_names"]

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_tools(given: object) -> list[dict[str, Any]]:
    """The functions.

    Raises:
        Untranslatable: one of the tools is run by Anthropic.
    """
    return [_function(tool, f"tools[{i}]") for i, tool in enumerate(items(given, "tools"))]


def original_names(given: object) -> dict[str, str]:
    """What the client calls its tools, by the names under which they are sent."""
    names = [tool.get("name") for tool in given if isinstance(tool, dict)] if isinstance(given, list) else []
    return {fit_name(name): name for name in names if isinstance(name, str)}


def chat_tool_choice(given: object) -> dict[str, Any]:
    """`tool_choice` and `parallel_tool_calls`, where they ask for more than the default."""
    if given is None:
        return {}
    choice = item(given, "tool_choice")
    kind = str(choice.get("type"))
    wanted: dict[str, Any] = {}
    if kind == "tool":
        name = fit_name(string(choice.get("name"), "tool_choice.name"))
        wanted["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif kind in _CHOICES:
        if kind != "auto":
            wanted["tool_choice"] = _CHOICES[kind]
    else:
        raise Untranslatable(f"tool_choice.type is {kind!r}, wanted auto, any, tool or none", param="tool_choice")
    if choice.get("disable_parallel_tool_use") is True:
        wanted["parallel_tool_calls"] = False
    return wanted


def _function(tool: Document, where: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind not in (None, "custom"):
        return client_tool(tool, where)
    function: dict[str, Any] = {"name": fit_name(string(tool.get("name"), f"{where}.name"))}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = object_schema(item(tool.get("input_schema"), f"{where}.input_schema"))
    return {"type": "function", "function": function}
