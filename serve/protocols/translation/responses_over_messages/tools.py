"""Tools of the Responses API as tools of the Messages API."""

from collections.abc import Iterator
from typing import Any

from pointsman.serve.protocols.translation.custom_tools import custom_tool
from pointsman.serve.protocols.translation.read import Document, Untranslatable, item, items, string
from pointsman.serve.protocols.translation.tools import fit_name, object_schema

__all__ = ["SEARCH", "Named", "message_tool_choice", "message_tools", "named_tools_of", "sent_name"]

SEARCH = "web_search"
_SEARCH_TYPE = "web_search_20250305"
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
Named = dict[str, tuple[str, str | None, bool]]  # a tool's name, its namespace, whether it takes a text, as sent


def message_tools(asked: Document) -> list[dict[str, Any]]:
    """The tools, those of a `tool_choice` that allows some alone.

    Raises:
        Untranslatable: one of them is run by OpenAI, or not known.
    """
    tools = [made for i, tool in enumerate(items(asked.get("tools"), "tools")) for made in _tools(tool, f"tools[{i}]")]
    choice = asked.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return tools
    allowed = {str(tool.get("name") or tool.get("type")) for tool in items(choice.get("tools"), "tool_choice.tools")}
    return [tool for tool in tools if tool["name"] in set(map(fit_name, allowed))]


def message_tool_choice(asked: Document) -> dict[str, Any]:
    """`tool_choice`, where it asks for more than the default."""
    given = asked.get("tool_choice")
    choice = {"type": "auto"} if given is None else _choice(given)
    if asked.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice = {**choice, "disable_parallel_tool_use": True}
    return {} if choice == {"type": "auto"} else {"tool_choice": choice}


def named_tools_of(asked: Document) -> Named:
    """The client's tools by the names under which they are sent."""
    return {sent_name(name, space): (name, space, custom) for name, space, custom in _named(asked.get("tools"), None)}


def sent_name(name: str, namespace: object) -> str:
    """The name under which a tool is sent; one in a namespace has both in it."""
    return fit_name(f"{namespace}__{name}" if isinstance(namespace, str) and namespace else name)


def _named(tools: object, namespace: str | None) -> Iterator[tuple[str, str | None, bool]]:
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        if tool.get("type") == "namespace":
            yield from _named(tool.get("tools"), str(tool.get("name") or ""))
        elif isinstance(tool.get("name"), str):
            yield tool["name"], namespace, tool.get("type") == "custom"


def _tools(tool: Document, where: str, namespace: str | None = None) -> Iterator[dict[str, Any]]:
    kind = tool.get("type")
    if kind == "function":
        made: dict[str, Any] = {"name": sent_name(string(tool.get("name"), f"{where}.name"), namespace)}
        if isinstance(tool.get("description"), str):
            made["description"] = tool["description"]
        yield {**made, "input_schema": object_schema(tool.get("parameters"))}
    elif kind == "custom":
        name = sent_name(string(tool.get("name"), f"{where}.name"), namespace)
        yield {**custom_tool(tool, where), "name": name}
    elif kind == "namespace":
        space = string(tool.get("name"), f"{where}.name")
        for i, inner in enumerate(items(tool.get("tools"), f"{where}.tools")):
            yield from _tools(inner, f"{where}.tools[{i}]", space)
    elif isinstance(kind, str) and kind.startswith(SEARCH):
        yield _search(tool)
    else:
        message = f"{where}.type is {kind!r}, wanted function, custom or web_search: OpenAI's API runs the others"
        raise Untranslatable(message, param=where)


def _search(tool: Document) -> dict[str, Any]:
    """Web search, which both services run; how much of it a model reads is its service's to say."""
    made: dict[str, Any] = {"type": _SEARCH_TYPE, "name": SEARCH}
    filters, place = tool.get("filters"), tool.get("user_location")
    if isinstance(filters, dict) and filters.get("allowed_domains"):
        made["allowed_domains"] = filters["allowed_domains"]
    if isinstance(place, dict) and any(place.get(key) for key in ("city", "region", "country", "timezone")):
        made["user_location"] = {"type": "approximate", **{key: value for key, value in place.items() if value}}
    return made


def _choice(given: object) -> dict[str, Any]:
    if isinstance(given, str):
        if given not in _CHOICES:
            raise Untranslatable(f"tool_choice is {given!r}, wanted auto, required or none", param="tool_choice")
        return {"type": _CHOICES[given]}
    choice = item(given, "tool_choice")
    if choice.get("type") == "allowed_tools":
        return {"type": "any" if choice.get("mode") == "required" else "auto"}
    if isinstance(choice.get("name"), str):
        return {"type": "tool", "name": sent_name(choice["name"], choice.get("namespace"))}
    if str(choice.get("type")).startswith(SEARCH):
        return {"type": "tool", "name": SEARCH}
    message = f"tool_choice.type is {choice.get('type')!r}, wanted function, custom or allowed_tools"
    raise Untranslatable(message, param="tool_choice")
