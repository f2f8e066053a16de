"""The static embedder with one more coordinate: how long the text is."""

import math
from collections.abc import Sequence

from pointsman.backends.embedders.by_text import TextEmbedder
from pointsman.backends.embedders.static import StaticEmbedder
from pointsman.core.arrays import Float32Array
from pointsman.core.embedding import EmbedderIdentity

__all__ = ["LengthenedEmbedder"]

_SCALE, _TYPICAL_LENGTH = 0.2, 200


class LengthenedEmbedder(TextEmbedder):
    """Embedding of a text = [e; 0.2 ln((1 + n) / 200)], e the inner embedder's, n the number of characters.

    A unit vector shows what a text is about but not its length, which says as much about how hard a question is.
    The scale makes a text ten times as long about as different as one on a neighbouring subject.
    """

    def __init__(self, embed: StaticEmbedder) -> None:
        inner = embed.identity
        self._embed = embed
        self.identity = EmbedderIdentity(f"{inner.name}+length", inner.revision, inner.dim + 1, normalized=False)

    @property
    def blocking(self) -> bool:
        return self._embed.blocking

    def embed_into(self, texts: Sequence[str], out: Float32Array) -> None:
        """Writes the embeddings of a few texts into `out`, shape (n_texts, dim + 1)."""
        self._embed.embed_into(texts, out[:, :-1])
        out[:, -1] = [_SCALE * math.log((1 + len(text)) / _TYPICAL_LENGTH) for text in texts]
