"""Embedders that read one text at a time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from pointsman.core.arrays import Float32Array
from pointsman.core.embedding import EmbedderIdentity

__all__ = ["TextEmbedder"]


class TextEmbedder(ABC):
    """An embedder whose embedding of a text does not depend on the others it is embedded with."""

    identity: EmbedderIdentity

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        """Embeddings of `texts`, shape (n_texts, dim).

        Raises:
            ValueError: `texts` is a single string, or holds something else than strings.
        """
        if isinstance(texts, str):
            raise ValueError("texts is a single string, wanted a sequence of strings")
        out = np.empty((len(texts), self.identity.dim), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            self.embed_into(text, row)
        return out

    @abstractmethod
    def embed_into(self, text: str, out: Float32Array) -> None:
        """Writes the embedding of a text into `out`, shape (dim,).

        Raises:
            ValueError: `text` is not a string.
        """
