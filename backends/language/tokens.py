"""From prompts to token ids, with the frame that a model wants around them and long prompts cut to its limit."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pointsman.core.arrays import AnyFloatArray, IntArray
from pointsman.core.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Forward", "PromptTokenizer", "chunks_by_length", "encoder_frame", "pad", "read_tokenizer"]

TRUNCATIONS = ("head_tail", "head")
Forward: TypeAlias = Callable[[IntArray, IntArray], AnyFloatArray]
_MIN_PROMPT_TOKENS = 8
_CHARS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True, eq=False)
class PromptTokenizer:
    """Token ids of a prompt: `before`, the prompt's own tokens, `after`; at most `max_length` in all.

    Only the prompt is ever cut, never its frame. Of a text longer than 16 characters per token of `max_length` the ends
    alone are read, so that a megabyte costs no more than a page.

    Attributes:
        tokenizer: without truncation and padding of its own.
        before, after: ids of the frame.
        max_length: the model's limit in tokens.
        truncation: what is kept of a long prompt: "head_tail" (first and last half) or "head".

    Raises:
        ValueError: `truncation` is unknown, or the frame leaves fewer than 8 tokens for the prompt.
    """

    tokenizer: "Tokenizer"
    before: tuple[int, ...]
    after: tuple[int, ...]
    max_length: int
    truncation: str = "head_tail"

    def __post_init__(self) -> None:
        if self.truncation not in TRUNCATIONS:
            raise ValueError(f"truncation is {self.truncation!r}, wanted one of {', '.join(TRUNCATIONS)}")
        if self.room < _MIN_PROMPT_TOKENS:
            raise ValueError(
                f"max_length {self.max_length} leaves {self.room} tokens for the prompt beside the "
                f"{len(self.before) + len(self.after)} of its frame, wanted at least {_MIN_PROMPT_TOKENS}; "
                "shorten the template or raise max_length"
            )

    @property
    def room(self) -> int:
        """Most tokens that a prompt may have."""
        return self.max_length - len(self.before) - len(self.after)

    def __call__(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt with its frame.

        Raises:
            ValueError: `prompts` is a single string.
        """
        if isinstance(prompts, str):
            raise ValueError("prompts is a single string, wanted a sequence of strings")
        # A lone surrogate has no UTF-8 form, and the tokenizer refuses it.
        texts = [self._ends(prompt).encode("utf-8", "ignore").decode("utf-8") for prompt in prompts]
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [[*self.before, *self._cut(encoding.ids), *self.after] for encoding in encodings]

    def _ends(self, text: str) -> str:
        limit = _CHARS_PER_TOKEN * self.max_length
        if len(text) <= limit:
            return text
        return text[:limit] if self.truncation == "head" else f"{text[: limit // 2]} {text[-limit // 2 :]}"

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) <= self.room:
            return ids
        if self.truncation == "head":
            return ids[: self.room]
        tail = self.room // 2
        return ids[: self.room - tail] + ids[len(ids) - tail :]


def read_tokenizer(path: str | os.PathLike[str]) -> "Tokenizer":
    """The tokenizer of a `tokenizer.json`, without truncation and padding.

    Raises:
        CheckpointError: the file is missing or no tokenizer.
    """
    from tokenizers import Tokenizer

    if not Path(path).is_file():
        raise CheckpointError(f"{path} is missing; copy the whole checkpoint again")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise CheckpointError(f"{path} is not a tokenizer file: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encoder_frame(tokenizer: "Tokenizer") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Special tokens that the tokenizer puts before and after one text, such as [CLS] and [SEP]."""
    encoding = tokenizer.encode("a")
    inner = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return tuple(encoding.ids[: inner[0]]), tuple(encoding.ids[inner[-1] + 1 :])


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[IntArray, IntArray]:
    """Token ids and attention mask of rows padded on the right, both int64, shape (n_rows, longest row)."""
    ids = np.full((len(rows), max(map(len, rows))), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


def chunks_by_length(rows: Sequence[Sequence[int]], batch_size: int) -> list[IntArray]:
    """Row numbers in batches of similar length, so that little is padding."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
