"""Reads large JSON piece by piece, in bounded memory.

Parsed at once, 32 MB of JSON block the event loop for a second, even from another thread, and 32 MB of empty
objects take a gigabyte. So the structural characters, those outside strings, are found first: they show how many values
there are, how deep they are nested, and where the text can be cut.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.serve.http.errors import RequestError

__all__ = [
    "LARGE_BYTES",
    "MAX_DEPTH",
    "TOO_DEEP",
    "Structure",
    "in_parts",
    "is_too_deep",
    "member_places",
    "read_large",
    "slices",
]

LARGE_BYTES = 64 * 1024  # what is shorter is quicker at once
MAX_DEPTH = 300  # levels of arrays and objects: whatever goes through a document recursively gets to its end
TOO_DEEP = f"the body is nested too deeply, wanted at most {MAX_DEPTH} levels"
_MAX_CONTAINERS = 50_000  # a conversation of a million tokens has half of them
_MAX_VALUES = 1_000_000
_BLOCK_BYTES = 256 * 1024
_PIECE_BYTES = 256 * 1024  # a millisecond
_PAUSE_S = 1e-5  # between the pieces, for other threads: who only offers Python's lock mostly takes it back itself
_MOST_ESCAPES = 12  # bytes of the longest escape: two halves of a character
_FIRST_HALVES = (b"d8", b"d9", b"da", b"db")
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_OPEN, _CLOSE = b"[{", b"]}"
_BLANK = b" \t\n\r"
_INVALID = "the body is not valid JSON"
_STEPS = np.zeros(256, np.int8)
_STEPS[list(_OPEN)], _STEPS[list(_CLOSE)] = 1, -1
_STRUCTURAL = np.isin(np.arange(256), list(b"[]{},:"))


@dataclass(frozen=True, slots=True)
class Structure:
    """The structural characters of a JSON text, those within strings left out.

    Attributes:
        at: their positions, shape (n,).
        kind: the characters, shape (n,).
        level: number of arrays and objects around each, not counting its own, shape (n,).
    """

    at: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    level: npt.NDArray[np.int32]


def find_structure(body: bytes, *, bounded: bool = True, max_depth: int = MAX_DEPTH) -> Structure:
    """Positions where a JSON text can be cut; if a text is not JSON, one of the pieces is not JSON either.

    Args:
        bounded: whether the number of values is.
        max_depth: most levels of arrays and objects.

    Raises:
        RequestError: it holds too many values, is nested too deeply, or has more closing brackets or colons than JSON
            can have: those would take memory without being values.
    """
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.int32]]] = []
    depth = n_containers = n_values = n_colons = 0
    for at, kind in _marks(body):
        steps = _STEPS[kind]
        level = depth + np.cumsum(steps, dtype=np.int32)
        if level.size and level.max() > max_depth:
            raise RequestError(TOO_DEEP)
        if level.size and level.min() < 0:
            raise RequestError(_INVALID)
        depth = int(level[-1]) if level.size else depth
        found.append((at, kind, np.minimum(level, level - steps)))
        n_containers += int(np.count_nonzero(steps == 1))
        n_values += int(np.count_nonzero(kind == _COMMA))
        n_colons += int(np.count_nonzero(kind == _COLON))
        if n_colons > n_containers + n_values:  # before each member is its object's beginning, or a comma
            raise RequestError(_INVALID)
        if bounded and (n_containers > _MAX_CONTAINERS or n_values > _MAX_VALUES):
            raise RequestError(
                f"the body holds too many values, wanted at most {_MAX_CONTAINERS:,} arrays and objects, and "
                f"{_MAX_VALUES:,} values: send fewer in one request",
                status=413,
                code="too_many_values",
            )
    at, kind, level = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Structure(at, kind, level)


def read_large(body: bytes, loads: Callable[[bytes], Any], *, bounded: bool = True) -> Any:
    """The value of a JSON text, parsed piece by piece with `loads`.

    Args:
        loads: raises `RequestError` for what is not JSON.
        bounded: whether the number of values is, as it has to be where a client sends them.

    Raises:
        RequestError: it is not JSON, holds too many values, or is nested too deeply.
    """
    structure = find_structure(body, bounded=bounded)
    return _Reader(body, structure, loads).read(0, len(body), 0, structure.at.size)


def member_places(body: bytes) -> Iterator[tuple[int, int]]:
    """Positions of each member of a JSON object, and of the colon after its key.

    However many values it holds: it was accepted before, and translating it may have added some.
    """
    structure = find_structure(body, bounded=False, max_depth=len(body))
    outermost = structure.level == 1
    colons = structure.at[outermost & (structure.kind == _COLON)].tolist()
    commas = structure.at[outermost & (structure.kind == _COMMA)].tolist()
    begins = [int(structure.at[0]), *commas] if colons else []
    yield from ((begin + 1, colon) for begin, colon in zip(begins, colons, strict=True))


def is_too_deep(value: Any, text: bytes | str) -> bool:
    """Whether a value that was read from a JSON text has more than `MAX_DEPTH` levels of arrays and objects."""
    if len(text) <= 2 * MAX_DEPTH:
        return False
    n_openings = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if n_openings <= MAX_DEPTH:
        return False
    level: list[Any] = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        inner = [part.values() if isinstance(part, dict) else part for part in level]
        level = [part for parts in inner for part in parts if isinstance(part, (dict, list))]
        if not level:
            return False
    return True


def in_parts(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where to cut what lies between two positions of a long text, so that work on one part takes a millisecond.

    A thread keeps Python's lock for as long as one function of C takes; between the parts others have their turn.
    """
    if end - begin <= _PIECE_BYTES:
        yield begin, end
        return
    for at in range(begin, end, _PIECE_BYTES):
        time.sleep(_PAUSE_S)
        yield at, min(at + _PIECE_BYTES, end)


def slices(text: bytes, begin: int, end: int) -> list[bytes]:
    """What lies between two positions, in parts, whose joining leaves the lock to others unlike copying the whole."""
    return [text[at:until] for at, until in in_parts(begin, end)]


class _Reader:
    def __init__(self, body: bytes, structure: Structure, loads: Callable[[bytes], Any]) -> None:
        self._body, self._loads = body, loads
        self._at, self._kind, self._level = structure.at, structure.kind, structure.level

    def read(self, begin: int, end: int, first: int, last: int) -> Any:
        """The value in `body[begin:end]`, whose structural characters are those from `first` to before `last`."""
        if end - begin <= _PIECE_BYTES:
            return self._piece(self._body[begin:end], begin)
        if first == last:
            return self._scalar(begin, end)
        opening, closing = int(self._at[first]), int(self._at[last - 1])
        ends = _OPEN.find(self._kind[first]), _CLOSE.find(self._kind[last - 1])
        fit = ends[0] == ends[1] >= 0 and self._level[first] == self._level[last - 1]
        if not fit or _without_blanks(self._body, begin, end) != (opening, closing + 1):
            raise RequestError(_INVALID)
        cuts = [first, *self._commas(first, last), last - 1]
        if len(cuts) == 2 and _without_blanks(self._body, opening + 1, closing) == (closing, closing):
            return {} if ends[0] else []
        return self._object(cuts) if ends[0] else self._array(cuts)

    def _scalar(self, begin: int, end: int) -> Any:
        """A long string, in pieces; any other value whole."""
        body = self._body
        begin, end = _without_blanks(body, begin, end)
        last = end - 1
        if not (end - begin >= 2 * _MOST_ESCAPES and body[begin] == _QUOTE == body[last]):
            return self._piece(body[begin:end], begin)
        text = ""
        for piece in self._pieces_of_string(begin + 1, last):
            text += piece  # CPython lets it grow where it is; joining would copy everything at once
        return text

    def _pieces_of_string(self, begin: int, last: int) -> Iterator[str]:
        while begin < last:
            cut = _cut(self._body, begin, min(begin + _PIECE_BYTES, last), last)
            yield self._piece(b'"%b"' % self._body[begin:cut], begin)
            begin = cut

    def _array(self, cuts: list[int]) -> list[Any]:
        found: list[Any] = []
        for one, begin, end, first, last in self._groups(cuts):
            if one:
                found.append(self.read(begin, end, first, last))
            else:
                found += self._filled(b"[%b]" % self._body[begin:end], begin)
        return found

    def _object(self, cuts: list[int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one, begin, end, first, last in self._groups(cuts):
            if one:
                colon = int(self._at[first]) if first < last and self._kind[first] == _COLON else begin
                if not isinstance(key := self._piece(self._body[begin:colon], begin), str):
                    raise RequestError(_INVALID)
                found[key] = self.read(colon + 1, end, first + 1, last)
            else:
                found |= self._filled(b"{%b}" % self._body[begin:end], begin)
        return found

    def _groups(self, cuts: list[int]) -> Iterator[tuple[bool, int, int, int, int]]:
        """Groups of neighbouring elements or members, each a piece, and whether it is a single one that is too long."""
        waiting = cuts[0]
        for before, after in pairwise(cuts):
            if self._at[after] - self._at[before] > _PIECE_BYTES:
                if waiting != before:
                    yield (False, *self._span(waiting, before))
                yield (True, *self._span(before, after))
                waiting = after
            elif self._at[after] - self._at[waiting] > _PIECE_BYTES:
                yield (False, *self._span(waiting, before))
                waiting = before
        if waiting != cuts[-1]:
            yield (False, *self._span(waiting, cuts[-1]))

    def _span(self, before: int, after: int) -> tuple[int, int, int, int]:
        return int(self._at[before]) + 1, int(self._at[after]), before + 1, after

    def _commas(self, first: int, last: int) -> list[int]:
        inner = slice(first + 1, last - 1)
        found = (self._kind[inner] == _COMMA) & (self._level[inner] == self._level[first] + 1)
        places: list[int] = (np.flatnonzero(found) + first + 1).tolist()
        return places

    def _filled(self, piece: bytes, begin: int) -> Any:
        """A part of an array or object; an empty one means a superfluous comma."""
        found = self._piece(piece, begin)
        if not found:
            raise RequestError(_INVALID)
        return found

    def _piece(self, piece: bytes, begin: int) -> Any:
        time.sleep(_PAUSE_S)
        try:
            return self._loads(piece)
        except RequestError as error:
            raise RequestError(f"{error}, counted from byte {begin}") from None


def _cut(text: bytes, begin: int, end: int, last: int) -> int:
    """Where a string can be cut, at `end` or just before: between characters and escapes, not within a surrogate pair.

    Args:
        begin: of what is not read yet; nothing that begins before it goes beyond it.
        last: position of the quote that ends the string.
    """
    if end >= last:
        return last
    for at in range(end, max(begin, end - 2 * _MOST_ESCAPES), -1):
        before = text[max(begin, at - _MOST_ESCAPES) : at]
        if b"\\" not in before and text[at] & 0xC0 != 0x80:
            return at
        if text[at] == _BACKSLASH and not _in_pair(before):
            part = text[begin:at]
            if (len(part) - len(part.rstrip(b"\\"))) % 2 == 0:
                return at
    return last  # no string that anyone writes


def _without_blanks(text: bytes, begin: int, end: int) -> tuple[int, int]:
    """Where a value begins and ends that has white space around it; twice `end` if there is only white space."""
    for at, until in in_parts(begin, end):
        if rest := text[at:until].lstrip(_BLANK):
            begin = until - len(rest)
            break
    else:
        return end, end
    while text[end - 1] in _BLANK:
        part = text[max(begin, end - _PIECE_BYTES) : end]
        end -= len(part) - len(part.rstrip(_BLANK))
    return begin, end


def _in_pair(before: bytes) -> bool:
    """Whether the escape before may be the first half of a character beyond 16 bits."""
    return before[-6:-4] == b"\\u" and before[-4:-2].lower() in _FIRST_HALVES


def _marks(body: bytes) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """The structural characters of one block after the other."""
    in_string = escaped = 0
    for begin in range(0, max(1, len(body)), _BLOCK_BYTES):
        block = np.frombuffer(body, np.uint8, min(_BLOCK_BYTES, len(body) - begin), begin)
        quotes, escaped = _quotes(block, escaped)
        at = np.flatnonzero(_STRUCTURAL[block])
        at = at[(np.searchsorted(quotes, at) + in_string) % 2 == 0]
        in_string = (in_string + quotes.size) % 2
        yield at + begin, block[at]


def _quotes(block: npt.NDArray[np.uint8], escaped: int) -> tuple[npt.NDArray[np.int64], int]:
    """Where strings begin and end: the quotes that no backslash escapes; whether the next block begins escaped.

    Args:
        escaped: 1 if the block's first character is, 0 if not.
    """
    quotes, slashes = np.flatnonzero(block == _QUOTE), np.flatnonzero(block == _BACKSLASH)
    if not slashes.size:
        return (quotes[1:] if escaped and quotes.size and quotes[0] == 0 else quotes), 0
    order = np.arange(slashes.size)
    begins = np.diff(slashes, prepend=-2) != 1
    run = order - np.maximum.accumulate(np.where(begins, order, 0)) + 1  # which of the backslashes in a row it is
    if slashes[0] == 0:
        run[: int(np.argmax(np.append(begins[1:], True))) + 1] += escaped
    before = np.searchsorted(slashes, quotes) - 1
    follows = (before >= 0) & (slashes[before] == quotes - 1)
    is_escaped = np.where(follows, run[before] % 2 == 1, (quotes == 0) & (escaped == 1))
    next_escaped = int(run[-1] % 2) if slashes[-1] == block.size - 1 else 0
    return quotes[~is_escaped], next_escaped
