"""Free checks of an answer against its request.

    empty    no text and no tool call
    refusal  marked as a refusal by the upstream, or beginning like one
    length   cut off, although the client set no limit
    json     not JSON, or not valid by the schema, although the request wants JSON
    tools    a call of an unknown tool, or arguments that are not JSON or not valid by the tool's schema

A schema that is invalid, refers to other documents or takes too long is not used: only JSON is then required.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from pointsman.core.answer_signals import is_refusal
from pointsman.serve.protocols.said import Said, ToolCall

__all__ = ["CHECKS", "check_answer", "meets_schema"]

CHECKS = ("empty", "refusal", "length", "json", "tools")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_MAX_SCHEMA_CHARS = 100_000
_MAX_ANSWER_CHARS = 1_000_000
_MAX_STEPS = 20_000  # of one validation: a schema can be made to take exponentially many


def check_answer(
    said: Sequence[Said], document: Mapping[str, Any], checks: Collection[str] = CHECKS, *, partial: bool = False
) -> str | None:
    """Name of the first check that one of the answers fails; None where all pass.

    Args:
        said: the answers; several if n > 1.
        document: the request.
        partial: only the beginning of the answer has arrived, so how it ends is not known yet.
    """
    failing = (name for one in said for name in _failing(one, document, partial=partial))
    found = next((name for name in failing if name in checks), None)
    return "empty" if found is None and not said and "empty" in checks and not partial else found


def _failing(said: Said, document: Mapping[str, Any], *, partial: bool) -> Iterator[str]:
    if said.refused or is_refusal(said.text):
        yield "refusal"
    if partial:
        return
    if not said.text.strip() and not said.tool_calls and not said.refused:
        yield "length" if said.finish_reason == "length" else "empty"
    if said.finish_reason == "length" and not any(document.get(name) is not None for name in _LIMITS):
        yield "length"
    wanted = _wanted_json(document)
    if wanted is not None and not said.tool_calls and not _is_json(said.text, wanted):
        yield "json"
    tools = _tools(document)
    if said.tool_calls and tools is not None and not all(_is_call(call, tools) for call in said.tool_calls):
        yield "tools"


def _wanted_json(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of the JSON that a request wants, empty if any JSON will do; None if it does not want JSON."""
    places = (
        document.get("response_format"),
        _member(document.get("text"), "format"),
        document.get("output_format"),
        _member(document.get("output_config"), "format"),
    )
    for wanted in places:
        kind = _member(wanted, "type")
        if kind == "json_object":
            return {}
        if kind == "json_schema":
            schema = _member(_member(wanted, "json_schema"), "schema") or _member(wanted, "schema")
            return schema if isinstance(schema, dict) else {}
    return None


def _tools(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]] | None:
    """Schemas of the request's tools by name; None if it has none, or some that the upstream runs."""
    given = document.get("tools")
    if not isinstance(given, list) or not given:
        return None
    found: dict[str, Mapping[str, Any]] = {}
    for tool in given:
        described = _member(tool, "function") or tool
        name = _member(described, "name")
        schema = _member(described, "parameters") or _member(described, "input_schema")
        kind = _member(tool, "type")
        if not isinstance(name, str) or not (
            kind in (None, "function") or (kind == "custom" and "input_schema" in tool)
        ):
            return None
        found[name] = schema if isinstance(schema, dict) else {}
    return found


def _is_call(call: ToolCall, tools: Mapping[str, Mapping[str, Any]]) -> bool:
    if call.name not in tools:
        return False
    return _is_json(call.arguments or "{}", tools[call.name])


def _is_json(text: str, schema: Mapping[str, Any]) -> bool:
    if len(text) > _MAX_ANSWER_CHARS:
        return True
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not schema:
        return isinstance(value, dict)
    return meets_schema(value, schema)


def meets_schema(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value is valid by a JSON schema, as far as bounded time without the network can tell.

    Patterns are not matched: they come from the client and can take exponential time.
    """
    try:
        written = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    except (TypeError, orjson.JSONEncodeError):
        return True
    if len(written) > _MAX_SCHEMA_CHARS:
        return True
    validator = _validator(written)
    if validator is None:
        return True
    try:
        return bool(validator(value))
    except (_TooLongError, RecursionError, _unresolvable()):
        return True


class _TooLongError(Exception):
    """A validation took too many steps."""


def _unresolvable() -> type[Exception]:
    from referencing.exceptions import Unresolvable

    return Unresolvable


@lru_cache(maxsize=256)
def _validator(written: bytes) -> Any:
    """Checks values against a schema; None if it is not a valid schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    schema = orjson.loads(written)
    known = validator_for(schema, default=Draft202012Validator)
    try:
        known.check_schema(schema)
    except (SchemaError, RecursionError):
        return None
    steps = [0]

    def counted(check: Any) -> Any:
        def run(validator: Any, given: Any, instance: Any, of: Any) -> Any:
            steps[0] += 1
            if steps[0] > _MAX_STEPS:
                raise _TooLongError
            if "patternProperties" in of and check is known.VALIDATORS.get("additionalProperties"):
                return
            yield from check(validator, given, instance, of) or ()

        return run

    def passed(*_: Any) -> Iterator[Any]:
        return iter(())

    rules = {name: counted(check) for name, check in known.VALIDATORS.items()}
    rules |= dict.fromkeys(("pattern", "patternProperties", "unevaluatedProperties", "format"), passed)
    bounded = extend(known, rules)(schema, registry=Registry())  # type: ignore[no-untyped-call]

    def is_valid(value: Any) -> bool:
        steps[0] = 0
        return bool(bounded.is_valid(value))

    return is_valid


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
