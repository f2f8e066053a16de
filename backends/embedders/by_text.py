"""Embedders for which a text stands alone."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from pointsman.core.arrays import Float32Array
from pointsman.core.embedding import EmbedderIdentity

__all__ = ["TextEmbedder"]

_AT_ONCE = 32


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
        for start in range(0, len(texts), _AT_ONCE):
            self.embed_into(texts[start : start + _AT_ONCE], out[start : start + _AT_ONCE])
        return out

    @abstractmethod
    def embed_into(self, texts: Sequence[str], out: Float32Array) -> None:
        """Writes the embeddings of a few texts into `out`, shape (n_texts, dim).

        What is done with all texts before the next thing is done finds its code and tables in the processor's caches.

        Raises:
            ValueError: a text is not a string.
        """
