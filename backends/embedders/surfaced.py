"""The static embedder with nine more coordinates: what a text looks like, whatever it is about."""

import math
from collections.abc import Sequence

import numpy as np

from pointsman.backends.embedders.by_text import TextEmbedder
from pointsman.backends.embedders.static import StaticEmbedder
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.embedding import EmbedderIdentity

__all__ = ["N_FEATURES", "SurfacedEmbedder", "surface_features"]

_SCALE, _MOST = 0.2, 3.0
_DIGIT, _CAPITAL, _CODE, _PUNCTUATION, _QUESTION, _NEWLINE, _SPACE = range(1, 8)
_KIND_OF_BYTE = np.zeros(256, dtype=np.uint8)
for _kind, _bytes in (
    (_DIGIT, b"0123456789"),
    (_CAPITAL, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    (_CODE, b"{}()[];=<>_`"),
    (_PUNCTUATION, b",.:"),
    (_QUESTION, b"?"),
    (_NEWLINE, b"\n"),
    (_SPACE, b" \t\r"),
):
    _KIND_OF_BYTE[list(_bytes)] = _kind
# Means and spreads over the public prompts of nine sources, rounded.
_TYPICAL = np.array([5.7, 1.5, 0.035, 0.035, 0.025, 0.025, 0.6, 1.5, 1.75])
_SPREAD = np.array([1.1, 1.4, 0.06, 0.035, 0.035, 0.025, 0.6, 1.35, 0.3])
N_FEATURES = len(_TYPICAL)


class SurfacedEmbedder(TextEmbedder):
    """Embedding of a text = [e; 0.2 z], e the inner embedder's, z its surface, see `surface_features`.

    A unit vector tells what a text is about; length, digits, code and lines tell what is asked for: a choice among four
    answers, a sum, a program. Together they weigh about half as much as the subject.
    """

    def __init__(self, embed: StaticEmbedder) -> None:
        inner = embed.identity
        self._embed = embed
        dim = inner.dim + N_FEATURES
        self.identity = EmbedderIdentity(f"{inner.name}+surface", inner.revision, dim, normalized=False)

    @property
    def blocking(self) -> bool:
        return self._embed.blocking

    def embed_into(self, texts: Sequence[str], out: Float32Array) -> None:
        """Writes the embeddings of a few texts into `out`, shape (n_texts, dim + 9)."""
        self._embed.embed_into(texts, out[:, :-N_FEATURES])
        for row, text in zip(out, texts, strict=True):
            row[-N_FEATURES:] = _SCALE * surface_features(text)


def surface_features(text: str) -> FloatArray:
    """z of a text, shape (9,): each (f - typical) / spread of public prompts, within [-3, 3].

    f = ln(1 + characters), ln(1 + digits), then shares of the UTF-8 bytes: digits, capitals A to Z, marks of code,
    full stops, commas and colons; ln(1 + question marks), ln(1 + line breaks), ln(1 + mean bytes of a word).
    """
    shown = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    count = np.bincount(_KIND_OF_BYTE[shown], minlength=8).tolist()
    n, blank = max(len(shown), 1), count[_NEWLINE] + count[_SPACE]
    found = [
        math.log1p(len(text)),
        math.log1p(count[_DIGIT]),
        count[_DIGIT] / n,
        count[_CAPITAL] / n,
        count[_CODE] / n,
        count[_PUNCTUATION] / n,
        math.log1p(count[_QUESTION]),
        math.log1p(count[_NEWLINE]),
        math.log1p((n - blank) / (1 + blank)),
    ]
    return np.clip((np.array(found) - _TYPICAL) / _SPREAD, -_MOST, _MOST)
