"""OpenAI's custom tools, whose input is text, as tools whose input is an object with that text."""

from typing import Any

from pointsman.serve.protocols.translation.read import Document, string
from pointsman.serve.protocols.translation.tools import fit_name

__all__ = ["INPUT", "custom_input", "custom_tool"]

INPUT = "input"  # the property that holds the text
_SCHEMA = {"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]}


def custom_tool(tool: Document, where: str) -> dict[str, Any]:
    """The tool; a grammar is put into the description, since no other service constrains a model to it."""
    described = [str(tool["description"])] if tool.get("description") else []
    form = tool.get("format")
    grammar = (form.get("grammar") or form) if isinstance(form, dict) and form.get("type") == "grammar" else {}
    if isinstance(grammar, dict) and grammar.get("definition"):
        described.append(f"The input follows this {grammar.get('syntax')} grammar:\n{grammar['definition']}")
    name = fit_name(string(tool.get("name"), f"{where}.name"))
    return {"name": name, "description": "\n\n".join(described) or name, "input_schema": _SCHEMA}


def custom_input(given: object) -> str:
    """The text in a custom tool's input object."""
    text = given.get(INPUT) if isinstance(given, dict) else None
    return text if isinstance(text, str) else ""
