"""The default embedder: a tokenizer and a table of word vectors, offline and in microseconds."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from pointsman.backends.assets import asset_path
from pointsman.backends.embedders.by_text import TextEmbedder
from pointsman.backends.embedders.word_pieces import WordPieces
from pointsman.core.arrays import Float32Array, IntArray
from pointsman.core.counted import counted
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError
from pointsman.core.mapped import map_arrays

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["META", "TABLE", "VOCABULARY", "StaticEmbedder", "bundled_word_pieces", "content_hash", "cut"]

META, TABLE, VOCABULARY = "embedder.json", "table.safetensors", "vocab.txt"
_HEAD_CHARS = _TAIL_CHARS = 2048
_FEW_IDS = 32


class StaticEmbedder(TextEmbedder):
    """Embedding of a text = sum of its tokens' vectors, scaled to unit norm.

    Tokens are WordPieces of the lower-cased text; unknown ones have the zero vector. A text without a known token gives
    the zero vector. Of a text longer than 4,096 characters the first and the last 2,048 count. Lone surrogates are
    skipped. A text's embedding does not depend on the others it is embedded with. Calls are safe from several threads.
    """

    blocking = False

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Loads a table.

        Args:
            folder: what `pointsman.backends.assets.make_static_table` wrote; None takes the bundled table.

        Raises:
            CheckpointError: a file is missing, damaged or does not fit the others.
        """
        self._rows, self._scales, self._pieces, revision = _bundled() if folder is None else _load(Path(folder))
        self.identity = EmbedderIdentity("static", revision, self._rows.shape[1], normalized=True)

    def embed_into(self, texts: Sequence[str], out: Float32Array) -> None:
        """Writes the embeddings of a few texts into `out`, shape (n_texts, dim).

        Raises:
            ValueError: a text is not a string.
        """
        ids = [self._ids(cut(text)) for text in texts]
        for row, found in zip(out, ids, strict=True):
            row[:] = self._pool(found)

    def _ids(self, text: str) -> IntArray:
        try:
            return self._pieces.ids(text)
        except TypeError:  # a lone surrogate has no UTF-8 form
            return self._pieces.ids(text.encode("utf-8", "ignore").decode("utf-8"))

    def _pool(self, ids: IntArray) -> Float32Array:
        scales, rows = self._scales.take(ids), self._rows.take(ids, axis=0)
        # einsum for the longer ones: BLAS wakes its threads for a prompt of 50 words and then takes milliseconds
        total: Float32Array = (
            scales @ rows.astype(np.float32) if len(ids) <= _FEW_IDS else np.einsum("i,ij->j", scales, rows)
        )
        norm = math.sqrt(total @ total)
        return total / norm if norm > 0.0 else total


def cut(text: str, head: int = _HEAD_CHARS, tail: int = _TAIL_CHARS) -> str:
    """`text`, or so many of its first and last characters if it is longer than both.

    Raises:
        ValueError: it is not a string.
    """
    if not isinstance(text, str):
        raise ValueError(f"a text is of type {type(text).__name__}, wanted a string")
    if len(text) <= head + tail:
        return text
    return f"{text[:head]} {text[-tail:]}"


def bundled_word_pieces() -> WordPieces:
    """The bundled table's tokenizer, for counting: the one that embeds, where that is loaded.

    Raises:
        CheckpointError: its files are missing or damaged.
    """
    return _bundled()[2]


def content_hash(folder: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the vocabulary followed by the table."""
    digest = hashlib.sha256()
    for name in (VOCABULARY, TABLE):
        with (folder / name).open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()[:16]


@cache
def _bundled() -> tuple[np.ndarray, Float32Array, WordPieces, str]:
    """A process embeds and counts with the same table and tokenizer, before and after a reload."""
    return _load(asset_path("static"))


def _load(folder: Path) -> tuple[np.ndarray, Float32Array, WordPieces, str]:
    """Rows, scales, tokenizer and revision of a table; its hash is taken in a thread beside the rest."""
    meta = _read_meta(folder)
    with ThreadPoolExecutor(1) as thread:
        hashed = thread.submit(content_hash, folder)
        try:
            rows, scales = _read_table(folder, meta)
            pieces = WordPieces(_build_tokenizer(folder, len(rows)))
        finally:
            _check_hash(folder, meta, hashed)
    return rows, scales, pieces, meta["revision"]


def _check_hash(folder: Path, meta: dict[str, Any], hashed: Future[str]) -> None:
    try:
        found = hashed.result()
    except OSError as error:
        raise CheckpointError(f"no static embedder in {folder}: {error}; install Pointsman again") from error
    if meta.get("revision") != found:
        raise CheckpointError(f"{folder}: the content hash is {found}, {META} wants another; install Pointsman again")


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no static embedder in {folder}: {error}; install Pointsman again") from error
    return meta if isinstance(meta, dict) else {}


def _read_table(folder: Path, meta: dict[str, Any]) -> tuple[np.ndarray, Float32Array]:
    try:
        table = map_arrays(folder / TABLE)
        rows, scales = table["rows"], table["scales"]
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"{folder / TABLE} is not a table of a static embedder: {error!r}") from error
    wanted = (meta.get("n_tokens"), meta.get("dim"))
    if rows.shape != wanted or scales.shape != rows.shape[:1]:
        raise CheckpointError(f"{folder / TABLE} has rows {rows.shape} and scales {scales.shape}, {META} says {wanted}")
    if not np.isfinite(scales).all():
        raise CheckpointError(f"{folder / TABLE}: the scales contain NaN or infinity")
    return rows, scales


def _build_tokenizer(folder: Path, n_tokens: int) -> "Tokenizer":
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokens = (folder / VOCABULARY).read_bytes()
    unknown = tokens.partition(b"\n")[0].decode()
    model = models.WordPiece.from_file(str(folder / VOCABULARY), unk_token=unknown, max_input_chars_per_word=100)
    tokenizer = Tokenizer(model)
    if tokenizer.get_vocab_size() != n_tokens or tokens.count(b"\n") != n_tokens:
        raise CheckpointError(
            f"{folder / VOCABULARY} has {tokenizer.get_vocab_size()} different tokens, "
            f"the table has {counted(n_tokens, 'row')}"
        )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
