"""Token ids of texts, from memory: WordPiece never looks past a space, so what stood between two needs no tokenizer."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import IntArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["WordPieces"]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85]")
_WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_MAX_STRETCHES = 50_000
_MAX_CHARS = 100  # of one that is remembered


class WordPieces:
    """Tokens of a lower-casing BERT tokenizer, mostly from a cache.

    A text is read a stretch between spaces at a time. The memory holds 50,000 of them, and is emptied when it is full.
    A new one of plain ASCII is put together from its words, runs of letters and digits, and single punctuation marks,
    which are remembered alike. Texts with control characters go to the tokenizer as a whole. Calls are safe from
    several threads.

    Args:
        tokenizer: normaliser, pre-tokenizer and WordPiece model of an uncased BERT.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._memory: dict[str, bytes] = {}

    def ids(self, text: str) -> IntArray:
        """Token ids of a text, without special tokens.

        Raises:
            TypeError: the text holds a lone surrogate.
        """
        has_control = not text.isprintable() and _CONTROL.search(text)  # most texts of one line need no search
        return np.frombuffer(self._encode(text) if has_control else self._recall(text.split()), np.intp)

    def _recall(self, stretches: Sequence[str]) -> bytes:
        memory = self._memory
        try:
            return b"".join([memory[stretch] for stretch in stretches])
        except KeyError:
            return b"".join([memory.get(stretch) or self._learn(stretch) for stretch in stretches])

    def _learn(self, stretch: str) -> bytes:
        words = _WORD.findall(stretch.lower()) if stretch.isascii() else []
        ids = self._recall(words) if words and words != [stretch] else self._encode(stretch)
        if len(stretch) <= _MAX_CHARS:
            if len(self._memory) >= _MAX_STRETCHES:
                self._memory = {}
            self._memory[stretch] = ids
        return ids

    def _encode(self, text: str) -> bytes:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.intp).tobytes()
