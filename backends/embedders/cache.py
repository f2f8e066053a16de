"""Embeddings on disk, so that no text is paid for twice."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np

from pointsman.core.arrays import Float32Array
from pointsman.core.errors import ConfigError

__all__ = ["EmbeddingCache"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
_BUSY_TIMEOUT_S = 60.0
_MAX_VARIABLES = 500


class EmbeddingCache:
    """Vectors by text in one SQLite file; texts themselves are not stored, only their SHA-256.

    A batch is stored in one transaction: a kill loses at most the batch that was being stored. Several processes may
    share a file, and several threads a cache.
    """

    def __init__(self, path: str | os.PathLike[str], *, scope: str) -> None:
        """Opens or makes the file.

        Args:
            scope: what made the vectors (service, model, dimension); other scopes' vectors are not seen.

        Raises:
            ConfigError: the file cannot be made, or is not an SQLite database.
        """
        self.path = Path(path)
        self._scope = scope.encode()
        self._lock = Lock()
        with self._guarded():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            with self._guarded(), self._db:
                self._db.execute(_SCHEMA)
        except ConfigError:
            self._db.close()
            raise

    def get(self, texts: Sequence[str]) -> dict[str, Float32Array]:
        """Vectors of those `texts` that are stored."""
        keys = {self._key(text): text for text in texts}
        wanted = list(keys)
        found: dict[str, Float32Array] = {}
        with self._lock, self._guarded():
            for start in range(0, len(wanted), _MAX_VARIABLES):
                part = wanted[start : start + _MAX_VARIABLES]
                query = f"SELECT key, vector FROM embeddings WHERE key IN ({','.join('?' * len(part))})"
                for key, vector in self._db.execute(query, part).fetchall():
                    found[keys[key]] = np.frombuffer(vector, dtype="<f4")
        return found

    def put(self, texts: Sequence[str], vectors: Float32Array) -> None:
        """Stores one vector per text, shape (n_texts, dim)."""
        rows = [(self._key(t), np.asarray(v, "<f4").tobytes()) for t, v in zip(texts, vectors, strict=True)]
        with self._lock, self._guarded(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?)", rows)

    def close(self) -> None:
        """Closes the file; the cache is of no use afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"embedding cache {self.path} is unusable: {error}; free or name another file") from error

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(self._scope + b"\0" + text.encode("utf-8", "surrogatepass")).digest()
