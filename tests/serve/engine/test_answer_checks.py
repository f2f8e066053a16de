"""Free checks of answers: what is wrong with one at sight, in bounded time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.serve.engine.answer_checks import CHECKS, check_answer, meets_schema
from pointsman.serve.protocols.said import Said, ToolCall

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "n": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
CHAT_TOOLS = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]}
RESPONSES_TOOLS = {"tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}]}
MESSAGES_TOOLS = {"tools": [{"name": "weather", "input_schema": SCHEMA}]}


def calls(name, arguments):
    """An answer that calls one tool."""
    return [Said("", (ToolCall(name, arguments),), "tool_calls")]


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        ([Said("Paris.")], None),
        ([Said("  \n")], "empty"),
        ([], "empty"),
        ([Said("", finish_reason="content_filter", refused=True)], "refusal"),
        ([Said("I'm sorry, but I can't help with that.")], "refusal"),
        ([Said("The capital", finish_reason="length")], "length"),
        ([Said("Paris."), Said("")], "empty"),
    ],
)
def test_what_is_wrong_at_sight_is_found(said, failed):
    """Empty, refused and cut-off answers fail; one bad answer of several is enough."""
    assert check_answer(said, {}) == failed
    assert check_answer(said, {}, [name for name in CHECKS if name != failed]) is None


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_an_answer_cut_at_the_client_s_own_limit_is_enough(limit):
    """`finish_reason: length` is no fault where the client set the limit."""
    assert check_answer([Said("The capital", finish_reason="length")], {limit: 5}) is None


@pytest.mark.parametrize(
    "document",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ],
)
def test_json_is_checked_by_the_request_s_schema(document):
    """On all three APIs, answers that do not parse or do not meet the schema fail."""
    assert check_answer([Said('{"city": "Paris", "n": 2}')], document) is None
    for wrong in ("Paris", '{"city": 3}', '{"city": "Paris", "n": 0}', '{"town": "Paris"}', '{"city": "Paris"', "[1]"):
        assert check_answer([Said(wrong)], document) == "json"
    assert check_answer([Said("Paris")], {"response_format": {"type": "json_object"}}) == "json"
    assert check_answer([Said("Paris")], {"response_format": {"type": "text"}}) is None


@pytest.mark.parametrize("document", [CHAT_TOOLS, RESPONSES_TOOLS, MESSAGES_TOOLS])
def test_tool_calls_are_checked_by_their_tools(document):
    """Unknown names, arguments that do not parse and those that are not by the schema fail."""
    assert check_answer(calls("weather", '{"city": "Paris"}'), document) is None
    for name, arguments in (("time", "{}"), ("weather", "{"), ("weather", '{"city": 1}'), ("weather", "{}")):
        assert check_answer(calls(name, arguments), document) == "tools"
    upstream_run = {"tools": [{"type": "web_search"}]}
    assert check_answer(calls("whatever", "{}"), upstream_run) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no type"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#"},
        {"$ref": "#/missing"},
        {"pattern": "(a+)+$"},
        {"patternProperties": {"(a+)+$": {}}, "additionalProperties": False},
        {"$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)} | {"d40": True},
         "$ref": "#/$defs/d0"},
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_checked_by_fails_nobody(schema):
    """No schema, one elsewhere, one that never ends, or takes forever: the answer passes, at once."""
    assert meets_schema("a" * 40 + "b", schema)
    assert meets_schema({"a" * 40 + "b": 1}, schema)


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
                    max_leaves=12))  # fmt: skip
def test_any_answer_and_any_request_are_checked_without_an_error(value):
    """Whatever is in the places of tools, formats and arguments, a check says yes or no."""
    text = json.dumps(value)
    document = {"response_format": value, "tools": value, "text": {"format": value}, "max_tokens": value}
    for said in ([Said(text)], calls("weather", text)):
        assert check_answer(said, document) in (None, *CHECKS)
        assert check_answer(said, CHAT_TOOLS, partial=True) in (None, *CHECKS)
    schema = value if isinstance(value, dict) else {"const": value}
    assert meets_schema(value, schema) in (True, False)
