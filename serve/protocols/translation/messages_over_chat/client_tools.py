"""Tools of Anthropic's that the client runs itself and whose schema is built into its models."""

from typing import Any

from pointsman.serve.protocols.translation.read import Document, Untranslatable
from pointsman.serve.protocols.translation.tools import fit_name

__all__ = ["client_tool"]

_NUMBER = {"type": "integer"}
_PATH = {"type": "string", "description": "Absolute path of a file or folder."}
_FILES = {
    "path": _PATH,
    "view_range": {
        "type": "array",
        "items": _NUMBER,
        "description": "First and last line to view, from 1; -1: the end.",
    },
    "file_text": {"type": "string", "description": "Of create: the whole content."},
    "old_str": {"type": "string", "description": "Of str_replace: the text to replace, found exactly once."},
    "new_str": {"type": "string", "description": "Of str_replace: what stands there instead."},
    "insert_line": {
        "type": "integer",
        "description": "Of insert: the line after which the text goes; 0: the beginning.",
    },
    "insert_text": {"type": "string", "description": "Of insert: the text."},
}


def client_tool(tool: Document, where: str) -> dict[str, Any]:
    """The function that such a tool is.

    Raises:
        Untranslatable: it is another tool, which Anthropic runs or which is unknown.
    """
    kind = str(tool.get("type"))
    for prefix, (description, properties, required) in _TOOLS.items():
        if kind.startswith(prefix):
            schema = {"type": "object", "properties": properties, "required": required}
            name = fit_name(str(tool.get("name") or prefix.rstrip("_")))
            return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
    message = f"{where} is of type {kind!r}, which Anthropic's API runs or knows, and this model's service does not"
    raise Untranslatable(f"{message}: describe it with an input_schema, or ask another model", param=where)


def _commands(*names: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}


_TOOLS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "bash_2025": (
        "Runs a command in a bash session that persists between calls, and returns its output.",
        {
            "command": {"type": "string", "description": "The command to run."},
            "restart": {"type": "boolean", "description": "True restarts the session; no command is needed then."},
        },
        [],
    ),
    "text_editor_2025": (
        "Views and edits text files.",
        {"command": _commands("view", "create", "str_replace", "insert"), **_FILES},
        ["command", "path"],
    ),
    "memory_2025": (
        "Keeps notes between conversations as files below /memories; look there before you start.",
        {
            "command": _commands("view", "create", "str_replace", "insert", "delete", "rename"),
            **_FILES,
            "old_path": {"type": "string", "description": "Of rename: the path as it is."},
            "new_path": {"type": "string", "description": "Of rename: the path as it shall be."},
        },
        ["command"],
    ),
}
