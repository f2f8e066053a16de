"""Large JSON is read in pieces: what comes of it, what is refused, and what it takes."""

import json
import tracemalloc

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols import edit_json, large_json
from pointsman.serve.protocols.edit_json import ask_for_usage, replace_model
from pointsman.serve.protocols.large_json import LARGE_BYTES, read_large
from pointsman.serve.protocols.requests import read_chat
from pointsman.serve.upstreams import openai

hard = st.text('\\"[]{},: €\U0001f600\ud83d\ude00abn/u', max_size=40)
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6) | hard
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hard, inner, max_size=4), max_leaves=12
)
marks = [b"", b"\xef\xbb\xbf", *(bytes([character]) for character in b'"\\[]{},:1 \xe2')]
edits = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(marks)), max_size=3)


@pytest.fixture(autouse=True, scope="module")
def tiny_pieces():
    """Blocks of five bytes and pieces of eight: every cut happens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "_BLOCK_BYTES", 5)
        patch.setattr(large_json, "_PIECE_BYTES", 8)
        yield


def loads(text):
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise RequestError("no JSON") from error


def outcome(read, text):
    """What a reader gives, or that it refuses."""
    try:
        return (read(text),)
    except RequestError:
        return None


@settings(max_examples=30)
@given(trees, st.sampled_from([None, 1]), st.booleans())
@example({"a": ["\\\\\\", '\\"', "\\" * 30]}, None, True)
@example(["\U0001f600" * 9], None, True)
def test_pieces_give_what_the_whole_gives(document, indent, ascii_only):
    """However it is spelled, wherever it is cut."""
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert outcome(lambda t: read_large(t, loads), text) == outcome(loads, text)


@settings(max_examples=40)
@given(trees, edits)
@example({"a": 1}, [(7, b",")])
@example([[1, 2, 3, 4, 5, 6, 7, 8, 9]], [(26, b",")])
def test_damaged_text_is_refused_where_the_whole_is(document, changes):
    """No cut makes JSON of what is none, or none of what is JSON."""
    text = bytearray(json.dumps(document).encode())
    for place, piece in changes:
        place %= len(text) + 1
        text[place : place + 1] = piece
    assert outcome(lambda t: read_large(t, loads), bytes(text)) == outcome(loads, bytes(text))


@settings(max_examples=40)
@given(st.dictionaries(hard, trees, max_size=4), edits)
@example({"a": "long enough"}, [(0, b"\xef\xbb\xbf{")])
@example({"a": ["long enough", 1]}, [(5, b"\xef\xbb\xbf ")])
@example({"a": 1, "b": 2, "c": 3}, [(8, b"\xef\xbb\xbf ")])
def test_large_answers_are_accepted_where_small_ones_are(document, changes):
    """With a byte order mark, which some services begin with, and not with one anywhere else."""
    text = bytearray(json.dumps(document).encode())
    for place, piece in changes:
        place %= len(text) + 1
        text[place : place + 1] = piece
    small = openai._read_object(bytes(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai, "LARGE_BYTES", 0)
        assert openai._read_object(bytes(text)) == small


@pytest.mark.parametrize("n_bytes", [700, 100_000])
def test_answers_nested_too_deeply_are_refused_whatever_their_size(n_bytes):
    """Not everything that goes through them gets to the end of any depth."""
    for depth in (large_json.MAX_DEPTH, large_json.MAX_DEPTH + 1):
        text = b'{"a":' * depth + b'"%b"' % (b"x" * n_bytes) + b"}" * depth
        assert (openai._read_object(text) is None) == (depth > large_json.MAX_DEPTH)


@settings(max_examples=25)
@given(st.dictionaries(hard, trees, max_size=4), st.booleans(), st.integers(0, 3))
def test_members_of_large_bodies_are_changed_like_those_of_small_ones(document, options, position):
    """The model and the stream's options, wherever they stand."""
    items = list(document.items())
    items.insert(position, ("model", "auto"))
    items += [("stream_options", {"include_usage": False} if options else None)]
    body = json.dumps(dict(items), ensure_ascii=True).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_json, "_PIECE_BYTES", len(body))
        small = replace_model(body, "big"), ask_for_usage(body, dict(items))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edit_json, "LARGE_BYTES", 0)
        assert (replace_model(body, "big"), ask_for_usage(body, dict(items))) == small


@pytest.mark.parametrize("form", [(", ", ": "), (",", ":"), ("\n,\t", " :\r\n")], ids=["usual", "compact", "wide"])
@pytest.mark.parametrize("document", ["x" * 999, ["x" * 999], {"a": {"b": "x" * 999}}, [1, "x" * 999, {}]])
def test_a_long_string_is_read_in_pieces_wherever_it_stands(document, form):
    """With white space around it as well: read at once, it would keep all other threads waiting."""
    read = []
    text = json.dumps(document, separators=form).encode()
    padded = b" " * 99 + text + b"\n" * 99
    assert read_large(padded, lambda piece: [read.append(len(piece)), loads(piece)][1]) == document
    assert max(read) <= large_json._PIECE_BYTES + 2


def request_with(**members):
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}], **members}).encode()


@pytest.mark.parametrize(
    "values", [[{"a": 0}] * 60_000, [[]] * 60_000, [1] * 1_100_000], ids=["objects", "arrays", "numbers"]
)
def test_too_many_values_are_refused_before_they_are_made(values, monkeypatch):
    """Bodies whose values would take many times their own memory: 413, at a fraction of it."""
    monkeypatch.setattr(large_json, "_BLOCK_BYTES", 256 * 1024)
    body = request_with(x=values)
    tracemalloc.start()
    with pytest.raises(RequestError, match="too many values, wanted at most 50,000 arrays and objects") as caught:
        read_chat(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 20_000_000


@pytest.mark.parametrize("character", b"]}:,", ids=chr)
@pytest.mark.parametrize("begin", [b"", b'{"model":"auto","x":'], ids=["alone", "in an object"])
def test_what_no_value_has_takes_no_memory(character, begin, monkeypatch):
    """Each structural character takes 13 bytes while a body is read: who sends only those is refused at once."""
    monkeypatch.setattr(large_json, "_BLOCK_BYTES", 256 * 1024)
    body = begin + bytes([character]) * 4_000_000
    tracemalloc.start()
    with pytest.raises(RequestError):
        read_chat(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


def test_a_body_that_grew_in_translation_is_changed(monkeypatch):
    """More values, and levels, than a client may send: it was counted when it came."""
    monkeypatch.setattr(large_json, "_BLOCK_BYTES", 256 * 1024)
    monkeypatch.setattr(large_json, "_PIECE_BYTES", 256 * 1024)
    parts = [[{"type": "model"}]] * 30_000 + [json.loads("[" * 299 + "]" * 299)]
    body = json.dumps({"model": "auto", "messages": parts}).encode()
    assert json.loads(replace_model(body, "big")) == {"model": "big", "messages": parts}


def test_a_long_request_is_read_as_a_short_one(monkeypatch):
    """Prompt, model and document; and what is wrong with it, with the place."""
    monkeypatch.setattr(large_json, "_BLOCK_BYTES", 256 * 1024)
    monkeypatch.setattr(large_json, "_PIECE_BYTES", 10_000)
    body = request_with(x="é\n" * LARGE_BYTES, y=[{"a": [1, "b"]}] * 3000)
    request = read_chat(body)
    assert (request.model, request.prompt, request.document) == ("auto", "Hi", json.loads(body))
    with pytest.raises(RequestError, match=r"not valid JSON: .*, counted from byte"):
        read_chat(body.replace(b'1, "b"', b'1 "b"', 1))
    with pytest.raises(RequestError, match="nested too deeply"):
        read_chat(request_with(x="a" * LARGE_BYTES, y=json.loads("[" * 301 + "]" * 301)))


def test_of_a_very_long_prompt_beginning_and_end_are_routed(monkeypatch):
    """What is read of it is bounded."""
    monkeypatch.setattr(large_json, "_BLOCK_BYTES", 256 * 1024)
    monkeypatch.setattr(large_json, "_PIECE_BYTES", 10_000)
    prompt = read_chat(request_with(messages=[{"role": "user", "content": "begin" + "a" * 1_500_000 + "end"}])).prompt
    assert len(prompt) == 1_000_000
    assert prompt.startswith("begin") and prompt.endswith("end")
