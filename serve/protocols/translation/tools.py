"""Tool names, ids and arguments: differences between services."""

import hashlib
import json
import re
from typing import Any

from pointsman.serve.protocols.large_json import is_too_deep
from pointsman.serve.protocols.write_json import write_json

__all__ = ["arguments_object", "arguments_text", "fit_id", "fit_name", "is_complete", "object_schema"]

MAX_NAME = 64  # characters of a function's name at OpenAI; Anthropic takes 128
_MAX_ID = 40  # of a tool call at OpenAI
_UNFIT = re.compile(r"[^a-zA-Z0-9_-]")


def fit_id(identifier: str) -> str:
    """A tool call's id that every service accepts: unchanged if possible, else a hash, the same for call and result."""
    if identifier and len(identifier) <= _MAX_ID and not _UNFIT.search(identifier):
        return identifier
    return f"call_{_digest(identifier)[:24]}"


def fit_name(name: str) -> str:
    """A tool's name that every service accepts: unchanged if possible, else its beginning and a hash."""
    if len(name) <= MAX_NAME and not _UNFIT.search(name):
        return name
    return f"{_UNFIT.sub('_', name)[: MAX_NAME - 9]}_{_digest(name)[:8]}"


def arguments_text(given: object) -> str:
    """A call's arguments as JSON text, as in OpenAI's APIs."""
    return write_json(given if isinstance(given, dict) else {}).decode()


def arguments_object(given: object) -> dict[str, Any]:
    """A call's arguments as an object, as in Anthropic's API.

    If a model wrote anything but a JSON object, or nested it too deeply, it is kept as `raw_arguments`, for the tool to
    reject.
    """
    if isinstance(given, dict):
        return given
    if not isinstance(given, str) or not given.strip():
        return {}
    try:
        parsed = json.loads(given, strict=False)
    except (ValueError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, dict) and not is_too_deep(parsed, given) else {"raw_arguments": given}


def is_complete(arguments: str) -> bool:
    """Whether they are a whole JSON object."""
    try:
        return isinstance(json.loads(arguments, strict=False), dict)
    except (ValueError, RecursionError):
        return False


def object_schema(schema: object) -> dict[str, Any]:
    """A tool's schema as both APIs accept it: of an object, with properties."""
    given = dict(schema) if isinstance(schema, dict) else {}
    return {**given, "type": "object", "properties": given.get("properties") or {}}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
