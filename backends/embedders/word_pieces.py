"""Token ids of texts, a word at a time: WordPiece never looks past a word, so a word seen before needs no tokenizer."""

import re
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["WordPieces"]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85]")
_WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_MAX_WORDS = 50_000
_MAX_WORD_CHARS = 100


class WordPieces:
    """What a lower-casing BERT tokenizer gives, mostly from memory.

    Words of plain ASCII are runs of letters and digits, and single punctuation marks; a stretch between spaces with any
    other character counts as one word. Each is tokenized once. The memory holds 50,000 words and starts anew when it is
    full. Texts with control characters go to the tokenizer as a whole. Calls are safe from several threads.

    Args:
        tokenizer: normaliser, pre-tokenizer and WordPiece model of an uncased BERT.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._memory: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens.

        Raises:
            TypeError: the text holds a lone surrogate.
        """
        if _CONTROL.search(text):
            return self._encode(text)
        words = _words(text)
        memory = self._memory
        try:
            return list(chain.from_iterable([memory[word] for word in words]))
        except KeyError:
            return list(chain.from_iterable([memory.get(word) or self._learn(word) for word in words]))

    def _learn(self, word: str) -> list[int]:
        ids = self._encode(word)
        if len(word) <= _MAX_WORD_CHARS:
            if len(self._memory) >= _MAX_WORDS:
                self._memory = {}
            self._memory[word] = ids
        return ids

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _words(text: str) -> list[str]:
    if text.isascii():
        return _WORD.findall(text.lower())
    stretches = (_WORD.findall(part.lower()) if part.isascii() else [part] for part in text.split())
    return list(chain.from_iterable(stretches))
