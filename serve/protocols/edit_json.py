"""Changes single members of JSON objects and leaves every other byte unchanged.

Numbers, duplicate keys, spacing and unknown fields reach the upstream exactly as the client wrote them, and the client
as the upstream wrote them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pointsman.serve.protocols.large_json import LARGE_BYTES, in_parts, member_places, slices

__all__ = ["add_members", "ask_for_usage", "hide_usage", "replace_model"]

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb")*+[\]}]"
_NESTED = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb"|" + _FLAT + rb")*+[\]}]"
# Containers of up to two levels (a message; a list of messages) are stepped over whole, deeper ones are counted.
_TOKEN = re.compile(rb"(?P<string>" + _STRING + rb")|(?P<whole>" + _NESTED + rb")|[\[\]{}]", re.DOTALL)
_COLON = rb"[ \t\n\r]*:[ \t\n\r]*"
_TEXT = re.compile(_COLON + rb"(" + _STRING + rb")", re.DOTALL)
_NULL_OR_OBJECT = re.compile(_COLON + rb"(null|" + _NESTED + rb")", re.DOTALL)
_NOTHING = re.compile(_COLON + rb"(\[[ \t\n\r]*\])")
_MODEL, _OPTIONS, _USAGE, _CHOICES = b'"model"', b'"stream_options"', b'"usage"', b'"choices"'
_ESCAPED_LETTER = rb"\u006"  # begins the escape of each letter of "model"
_LONGEST_ESCAPE = len(rb"\u006d")
_EVENT = re.compile(rb".*?(?:(?:\r\n|\n|\r){2,}|\Z)", re.DOTALL)
_DATA = re.compile(rb"(?:\A|(?<=[\r\n]))data: ?(\{[^\r\n]*\})")
# Followed by plain members alone up to the end, it is a member of the outermost object, and not within a string.
_LAST_NULL = re.compile(rb',[ ]?"usage":[ ]?null((?:,[ ]?"[a-z_]+":[ ]?(?:"[^"\\]*+"|null|[0-9.]+))*+\}\n\n)\Z')
_COMMA_BEFORE = re.compile(rb",[ \t\n\r]*\Z")
_COMMA_AFTER = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")


def replace_model(body: bytes, model: str) -> bytes:
    """`body` with `model` as the value of its top-level "model" key, at every occurrence.

    Args:
        body: a valid JSON object whose "model" is a string.
    """
    value = _quoted(model)
    if (key := _only_place(body)) is not None:
        old = _TEXT.match(body, key + len(_MODEL))
        assert old is not None, "the body's model is a string"
        return _with_part(body, old.start(1), old.end(1), value)
    return _replace_every(body, _MODEL, _TEXT, value)


def _only_place(body: bytes) -> int | None:
    """The position of the "model" key, if one place alone spells it, which then is the key."""
    n_places = place = 0
    for begin, end in in_parts(0, len(body)):
        if found := body.count(_MODEL, begin, end + len(_MODEL) - 1):
            n_places, place = n_places + found, body.index(_MODEL, begin)
        if n_places > 1 or body.find(_ESCAPED_LETTER, begin, end + len(_ESCAPED_LETTER) - 1) >= 0:
            return None
    return place if n_places == 1 else None


def _with_part(body: bytes, begin: int, end: int, new: bytes) -> bytes:
    if len(body) <= LARGE_BYTES:
        return b"".join((body[:begin], new, body[end:]))
    return b"".join([*slices(body, 0, begin), new, *slices(body, end, len(body))])


@lru_cache(maxsize=1024)
def _quoted(text: str) -> bytes:
    return json.dumps(text).encode("ascii")


def add_members(body: bytes, members: Mapping[str, Any]) -> bytes:
    """`body` with more members at its end.

    Args:
        body: a valid JSON object that is not empty and has none of them.
    """
    end = body.rindex(b"}")
    added = b"".join(
        b"," + json.dumps(name).encode() + b":" + json.dumps(value).encode() for name, value in members.items()
    )
    return _with_part(body, end, end, added)


def ask_for_usage(body: bytes, document: Mapping[str, Any]) -> bytes | None:
    """`body` with `stream_options.include_usage` true; None if it already is or must not be changed.

    Args:
        body: a valid JSON object that is not empty.
        document: the same, parsed.
    """
    if "stream_options" not in document:
        end = body.rindex(b"}")
        return _with_part(body, end, end, b',"stream_options":{"include_usage":true}')
    options = document["stream_options"]
    if not isinstance(options, (dict, type(None))) or (options or {}).get("include_usage") is True:
        return None
    wanted = json.dumps({**(options or {}), "include_usage": True}).encode("ascii")
    changed = _replace_every(body, _OPTIONS, _NULL_OR_OBJECT, wanted)
    return changed if changed != body else None


def hide_usage(events: bytes) -> bytes:
    """Complete events of a chat stream without what `include_usage` adds.

    That is `"usage": null` in every chunk, and one more chunk with the usage and no choices.
    """
    if _USAGE not in events:
        return events
    if b"\r" in events or b"\n\n\n" in events:
        return b"".join(map(_without_usage, _EVENT.findall(events)))
    *parts, rest = events.split(b"\n\n")
    return b"".join([_without_usage(part + b"\n\n") for part in parts]) + _without_usage(rest)


def _without_usage(event: bytes) -> bytes:
    if _USAGE not in event:
        return event
    if last := _LAST_NULL.search(event):  # as OpenAI sends each chunk
        return event[: last.start()] + last[1]
    data = _DATA.findall(event)
    if len(data) != 1:
        return event
    chunk: bytes = data[0]
    for key, value in _members(chunk, _USAGE, _NULL_OR_OBJECT):
        if value[1] != b"null":
            return b"" if any(_members(chunk, _CHOICES, _NOTHING)) else event
        return event.replace(chunk, _without_member(chunk, key, value.end()))
    return event


def _without_member(data: bytes, start: int, end: int) -> bytes:
    if comma := _COMMA_BEFORE.search(data, 0, start):
        return data[: comma.start()] + data[end:]
    after = _COMMA_AFTER.match(data, end)
    return data[:start] + data[after.end() if after else end :]


def _replace_every(body: bytes, key: bytes, value: re.Pattern[bytes], new: bytes) -> bytes:
    pieces: list[bytes] = []
    copied = 0
    for _, old in _members(body, key, value):
        pieces += (*slices(body, copied, old.start(1)), new)
        copied = old.end(1)
    return b"".join([*pieces, *slices(body, copied, len(body))])


def _members(body: bytes, key: bytes, value: re.Pattern[bytes]) -> Iterator[tuple[int, re.Match[bytes]]]:
    """Positions of an object's own members with that key, and of their values if they have that form."""
    if len(body) > LARGE_BYTES:
        yield from _members_of_large(body, key, value)
        return
    depth = 0
    for token in _TOKEN.finditer(body, body.index(b"{") + 1):
        if token.lastgroup == "string":
            if depth == 0 and _spells(token[0], key) and (found := value.match(body, token.end())):
                yield token.start(), found
        elif token.lastgroup is None:
            depth += 1 if token[0] in (b"{", b"[") else -1


def _members_of_large(body: bytes, key: bytes, value: re.Pattern[bytes]) -> Iterator[tuple[int, re.Match[bytes]]]:
    for begin, colon in member_places(body):
        start = begin + len(body[begin:colon]) - len(body[begin:colon].lstrip())
        if _spells(body[start:colon].rstrip(), key) and (found := value.match(body, colon)):
            yield start, found


def _spells(string: bytes, key: bytes) -> bool:
    if string == key:
        return True
    return b"\\" in string and len(string) <= _LONGEST_ESCAPE * len(key) and bool(json.loads(string) == json.loads(key))
