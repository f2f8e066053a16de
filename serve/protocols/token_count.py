"""Estimates tokens that the upstream did not report."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from pointsman.core.errors import PointsmanError
from pointsman.serve.protocols.long_documents import walks_request

if TYPE_CHECKING:
    from pointsman.backends.embedders.word_pieces import WordPieces

__all__ = ["TextSample", "count_image_tokens", "count_input_tokens", "count_tokens", "load_in_background"]

_COUNTED_CHARS = 20_000  # of a text; the rest is taken to be like them
_IMAGE_TOKENS = 765  # a square of 1024 pixels in high detail at OpenAI
_MESSAGE_TOKENS = 4  # around each message
_TEXT_KEYS = ("text", "content", "input", "output", "arguments", "name", "thinking")
_PLAIN = {"role", "content"}
_IMAGE_TYPES = ("image_url", "image", "input_image")


class TextSample:
    """The beginning of a text that arrives in pieces, and its total length.

    Attributes:
        n_chars: of the whole text.
    """

    __slots__ = ("_head", "n_chars")

    def __init__(self) -> None:
        self.n_chars = 0
        self._head: list[str] = []

    def add(self, piece: object) -> None:
        """Counts a further piece; anything but a string is ignored."""
        if isinstance(piece, str):
            if self.n_chars < _COUNTED_CHARS:
                self._head.append(piece)
            self.n_chars += len(piece)

    @property
    def is_whole(self) -> bool:
        """Whether `text` is all of it."""
        return sum(map(len, self._head)) == self.n_chars

    @property
    def text(self) -> str:
        """The pieces that were kept."""
        return "".join(self._head)

    def n_tokens(self) -> int:
        """Tokens of the whole text."""
        text = self.text
        return round(count_tokens(text) * self.n_chars / len(text)) if text else 0


def load_in_background() -> None:
    """Loads the vocabulary in a thread, so that counting the first text keeps no request waiting."""
    threading.Thread(target=_load, name="pointsman-vocabulary", daemon=True).start()


def _load() -> None:
    with suppress(PointsmanError):  # which the first text to be counted tells
        _pieces()


def count_tokens(text: str) -> int:
    """Number of word pieces by the bundled vocabulary; for a long text extrapolated from its beginning."""
    head = text[:_COUNTED_CHARS]
    if not head:
        return 0
    clean = head if head.isascii() else head.encode("utf-8", "ignore").decode("utf-8")
    return round(len(_pieces().ids(clean)) * len(text) / len(head))


@walks_request
def count_input_tokens(document: Mapping[str, Any]) -> int:
    """Tokens of a request of any API: its texts, its tools as JSON, and a fixed number for each image."""
    sample, extra = TextSample(), 0
    for key in ("system", "instructions", "prompt", "input", "messages"):
        value = document.get(key)
        if isinstance(value, list):
            extra += _MESSAGE_TOKENS * sum(isinstance(part, dict) for part in value)
        for piece in _texts(value):
            if isinstance(piece, int):
                extra += piece
            else:
                sample.add(piece[:_COUNTED_CHARS] + "\n")
                sample.n_chars += max(0, len(piece) - _COUNTED_CHARS)
    if tools := document.get("tools"):
        with suppress(RecursionError):
            sample.add(json.dumps(tools))
    return sample.n_tokens() + extra


@walks_request
def count_image_tokens(document: Mapping[str, Any]) -> int:
    """Tokens of a request's images: a fixed number for each; one for each token id."""
    return sum(piece for key in ("input", "messages") for piece in _texts(document.get(key)) if isinstance(piece, int))


def _texts(value: object) -> Iterator[str | int]:
    """The texts in a part of a request, and a number of tokens for each image and each token id."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict) and part.keys() == _PLAIN and isinstance(part["content"], str):  # most messages
            part = part["content"]
        if isinstance(part, str):
            yield part
        elif isinstance(part, int):
            yield 1  # embeddings are asked for token ids, too
        elif isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, dict):
            if part.get("type") in _IMAGE_TYPES:
                yield _IMAGE_TOKENS
                continue
            waiting.extend(part[key] for key in _TEXT_KEYS if isinstance(part.get(key), (str, list, dict)))
            calls = part.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                waiting.append(call.get("function") if isinstance(call, dict) else None)


@cache
def _pieces() -> "WordPieces":
    from pointsman.backends.embedders.static import bundled_word_pieces

    return bundled_word_pieces()
