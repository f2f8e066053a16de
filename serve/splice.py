"""Renames the model in a JSON body and leaves every other byte as it was.

Numbers, duplicate keys, spacing and unknown fields reach the upstream exactly as the client wrote them.
"""

import json
import re

__all__ = ["replace_model"]

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb")*+[\]}]"
_NESTED = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb"|" + _FLAT + rb")*+[\]}]"
# Containers of up to two levels (a message; a list of messages) are stepped over whole, deeper ones are counted.
_TOKEN = re.compile(rb"(?P<string>" + _STRING + rb")|(?P<whole>" + _NESTED + rb")|[\[\]{}]", re.DOTALL)
_VALUE = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*(" + _STRING + rb")", re.DOTALL)
_KEY = b'"model"'
_ESCAPED_LETTER = rb"\u006"  # begins the escape of each letter of "model"
_LONGEST_KEY = len(rb'"\u006d\u006f\u0064\u0065\u006c"')


def replace_model(body: bytes, model: str) -> bytes:
    """`body` with `model` as the value of its top-level "model" key, wherever that occurs.

    Args:
        body: a valid JSON object whose "model" is a string.
    """
    value = json.dumps(model).encode("ascii")
    if body.count(_KEY) == 1 and _ESCAPED_LETTER not in body:  # then the one place that spells the key is the key
        old = _VALUE.match(body, body.index(_KEY) + len(_KEY))
        assert old is not None, "the body's model is a string"
        return b"".join((body[: old.start(1)], value, body[old.end(1) :]))
    return _replace_every(body, value)


def _replace_every(body: bytes, value: bytes) -> bytes:
    pieces: list[bytes] = []
    copied, depth = 0, 0
    for token in _TOKEN.finditer(body, body.index(b"{") + 1):
        if token.lastgroup == "string":
            if depth == 0 and _is_model(token[0]) and (old := _VALUE.match(body, token.end())):
                pieces += (body[copied : old.start(1)], value)
                copied = old.end(1)
        elif token.lastgroup is None:
            depth += 1 if token[0] in (b"{", b"[") else -1
    pieces.append(body[copied:])
    return b"".join(pieces)


def _is_model(string: bytes) -> bool:
    if string == _KEY:
        return True
    return b"\\" in string and len(string) <= _LONGEST_KEY and bool(json.loads(string) == "model")
