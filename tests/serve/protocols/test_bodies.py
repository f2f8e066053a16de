"""What is read from a body, and what is changed in it on its way to the upstream."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.edit_json import replace_model
from pointsman.serve.protocols.requests import read_chat, read_question

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
keys = st.sampled_from(["model", "messages", "a", 'b"', "mod\\el"]) | st.text(max_size=6)
trees = st.recursive(
    scalars | st.just("model"), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
)
documents = st.dictionaries(keys, trees, max_size=5)


def pairs(text):
    """The document as nested lists of pairs: order and duplicates kept, numbers as they were spelled."""
    return json.loads(text, object_pairs_hook=lambda p: ("object", p), parse_float=str, parse_int=str)


@given(documents, st.text(min_size=1, max_size=8), st.booleans(), st.sampled_from([None, 1]), st.integers(0, 5))
@example({"a": {"model": "inner"}, "b": "model"}, "new", True, None, 0)
@example({"tools": [[[[{"model": "deep"}]]]]}, "new", True, None, 9)
def test_only_the_model_changes(document, model, ascii_only, indent, position):
    """However it is spelled and wherever it stands, the top-level model is replaced and nothing else."""
    items = [(key, value) for key, value in document.items() if key != "model"]
    items.insert(position, ("model", "router-mf-0.5"))
    body = json.dumps(dict(items), ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    expected = json.dumps({**dict(items), "model": model}, ensure_ascii=ascii_only, indent=indent)
    assert pairs(replace_model(body, model).decode("utf-8", "surrogatepass")) == pairs(expected)


@pytest.mark.parametrize(
    "rest",
    [
        '"n": 1e400, "i": 12345678901234567890123, "f": 0.10000000000000000555, "z": -0.0, "e": 1E+2',
        '"a": 1, "a": 2, "messages": [{"model": "inner"}], "x": {"model": "inner"}',
        '"text": "\\"model\\": \\"x\\" \\ud800 \\/ {[", "t": "model"',
        '  "spaces"  :\n\t[ ] ,"deep": [[[[[["model", {"model": "m"}]]]]]]',
    ],
)
@pytest.mark.parametrize("key", ['"model": "OLD"', '"\\u006dod\\u0065l" :  "OLD"'])
def test_every_other_byte_stays(rest, key):
    """Numbers, duplicate keys, escapes and spaces are passed on exactly as they came."""
    for body in (f"{{{key}, {rest}}}", f" {{ {rest} , {key}}}\n"):
        assert replace_model(body.encode(), "NEW") == body.replace('"OLD"', '"NEW"').encode()


def test_a_model_that_is_given_twice_is_replaced_twice():
    """No spelling lets a client name an upstream's model behind the router's back."""
    body = b'{"model": "big", "m\\u006fdel": "big", "model":"router-mf-0.5"}'
    assert replace_model(body, "small") == b'{"model": "small", "m\\u006fdel": "small", "model":"small"}'


def chat(**fields):
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([{"role": "user", "content": "one"}, {"role": "user", "content": "two"}], "two"),
        ([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}], "one"),
        ([{"role": "user", "content": "one"}, {"role": "tool", "tool_call_id": "1", "content": "two"}], "one"),
        ([{"role": "system", "content": "only"}], "only"),
        ([{"role": "user", "content": None}], ""),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image_url", "image_url": {"url": "data:"}},
                        {"type": "text", "text": "b"},
                    ],
                }
            ],
            "a\nb",
        ),
    ],
)
def test_the_prompt_is_the_text_of_the_last_user_turn(messages, prompt):
    """Text parts are joined; other turns and other parts are not read."""
    assert read_chat(chat(messages=messages)).prompt == prompt


def test_what_json_allows_is_read():
    """Lone surrogates and numbers beyond double precision are no reason to refuse a request."""
    body = b'{"model": "auto", "n": 1e400, "messages": [{"role": "user", "content": "a\\ud800b"}]}'
    request = read_chat(body)
    assert request.prompt == "a?b"
    assert request.body == body


@pytest.mark.parametrize(
    ("body", "problem", "param"),
    [
        (b"", "not valid JSON", None),
        (b"{", "not valid JSON", None),
        (b"[1]", "JSON array, wanted an object", None),
        (b"null", "JSON null", None),
        (b'{"model": "auto", "messages": [NaN]}', "not valid JSON", None),
        (b'{"model": "\xff"}', "not valid UTF-8", None),
        (b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply", None),
        (b'{"messages": [{"role": "user", "content": "Hi"}]}', "model is missing", "model"),
        (chat(model=5), "model is 5", "model"),
        (chat(model=""), "model is ''", "model"),
        (chat(model=None), "model is null", "model"),
        (chat(model=["a"]), "model is an array of 1", "model"),
        (b'{"model": "auto"}', "messages is missing", "messages"),
        (chat(messages=[]), "messages is an empty array", "messages"),
        (chat(messages="Hi"), "messages is 'Hi'", "messages"),
        (chat(messages={"role": "user"}), "messages is an object", "messages"),
        (chat(messages=["Hi"]), "messages[0] is 'Hi'", "messages[0]"),
        (chat(messages=[{"content": "Hi"}]), "messages[0] is an object", "messages[0]"),
        (chat(messages=[{"role": 3, "content": "Hi"}]), "messages[0]", "messages[0]"),
        (chat(messages=[{"role": "user", "content": 5}]), "content is 5", "messages[0].content"),
        (chat(messages=[{"role": "user", "content": ["Hi"]}]), "content[0] is 'Hi'", "messages[0].content[0]"),
        (
            chat(messages=[{"role": "user", "content": [{"type": "text"}]}]),
            "text is null",
            "messages[0].content[0].text",
        ),
        (chat(stream="yes"), "stream is 'yes'", "stream"),
        (chat(stream=1), "stream is 1", "stream"),
        (chat(messages=[10**400]), "messages[0]", "messages[0]"),
    ],
)
def test_a_malformed_body_says_what_was_wanted(body, problem, param):
    """Every mistake is a 400 that names the parameter and its value."""
    with pytest.raises(RequestError, match=re.escape(problem)) as caught:
        read_chat(body)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert set(json.loads(caught.value.body())["error"]) == {"message", "type", "param", "code"}


def test_a_question_may_be_a_bare_prompt():
    """For a decision alone, a prompt is enough, and the model defaults to auto."""
    assert read_question(b'{"prompt": "Hi"}').prompt == "Hi"
    assert read_question(b'{"prompt": "Hi"}').model == "auto"
    assert read_question(b'{"model": "router-mf", "messages": [{"role": "user", "content": "Yo"}]}').prompt == "Yo"
    for body in (b'{"prompt": 5}', b'{"prompt": "a", "messages": []}', b"{}", b'{"prompt": "a", "model": 5}'):
        with pytest.raises(RequestError):
            read_question(body)


@given(st.dictionaries(st.sampled_from(["model", "messages", "stream", "prompt"]), trees))
def test_any_json_is_read_or_refused(document):
    """No JSON makes the readers fail in any other way than a refusal."""
    body = json.dumps(document).encode()
    for read in (read_chat, read_question):
        try:
            assert isinstance(read(body).prompt, str)
        except RequestError as error:
            json.loads(error.body())
