"""JSON schemas that Claude's structured output supports."""

from typing import Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.write_json import write_json

__all__ = ["claude_schema", "schema_instruction"]

_KEPT = ("type", "description", "title", "enum", "const", "$ref", "default", "format")
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_INSTRUCTION = "Answer with one JSON object and nothing else: no prose around it, no code fence."


def claude_schema(schema: object, where: str) -> dict[str, Any]:
    """The same schema, with only what Anthropic's structured outputs support.

    Objects allow no further properties. Unsupported limits (of numbers, lengths, patterns) are put into the
    description, as Anthropic's own clients do.

    Raises:
        RequestError: it is not an object, or nested too deeply.
    """
    if not isinstance(schema, dict):
        raise RequestError(f"{where} is not an object, wanted a JSON schema", param=where)
    kept: dict[str, Any] = {name: value for name, value in schema.items() if name in _KEPT}
    told = {name: value for name, value in schema.items() if name not in _KEPT and name not in _INNER}
    for name in ("anyOf", "allOf"):
        if isinstance(schema.get(name), list):
            kept[name] = [claude_schema(each, where) for each in schema[name]]
    if isinstance(schema.get("oneOf"), list):
        kept["anyOf"] = [claude_schema(each, where) for each in schema["oneOf"]]
    for name in ("$defs", "definitions", "properties"):
        if isinstance(schema.get(name), dict):
            kept[name] = {key: claude_schema(each, where) for key, each in schema[name].items()}
    if isinstance(schema.get("items"), dict):
        kept["items"] = claude_schema(schema["items"], where)
    if schema.get("type") == "object":
        kept |= {"properties": kept.get("properties", {}), "additionalProperties": False}
        kept["required"] = schema.get("required") or []
    if schema.get("minItems") in (0, 1):
        kept["minItems"] = told.pop("minItems")
    if "format" in kept and kept["format"] not in _FORMATS:
        told["format"] = kept.pop("format")
    if told:
        limits = ", ".join(f"{name}: {value}" for name, value in told.items())
        kept["description"] = "\n\n".join(filter(None, [kept.get("description"), f"{{{limits}}}"]))
    return kept


def schema_instruction(form: object) -> str:
    """Instructions for a model that cannot be constrained to a schema or to JSON."""
    schema = form.get("schema") if isinstance(form, dict) else None
    if not isinstance(schema, dict):
        return _INSTRUCTION
    return f"{_INSTRUCTION} It matches this JSON schema:\n{write_json(schema).decode()}"


_INNER = frozenset(
    {"anyOf", "allOf", "oneOf", "$defs", "definitions", "properties", "items", "additionalProperties", "required"}
) | {"$schema", "$id", "strict"}
