"""What anybody can see at a glance: small talk and look-ups are easy, proofs and deadlocks are hard.

    z_k = b_k + u_k . e + sum_g w_k[hash(g)] / sqrt(n)        k = easy, hard; g the n runs of 1 to 5 characters
    s   = (exp z_hard - exp z_easy) / (1 + exp z_easy + exp z_hard)                       in (-1, 1); 0 is "cannot tell"

Characters serve all languages and scripts, and the embedding e generalises to words that were not seen. The 1 stands
for a third class: questions of examinations, whose difficulty does not show.
"""

import hashlib
import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from pointsman.backends.assets import asset_path
from pointsman.backends.embedders.by_text import TextEmbedder
from pointsman.backends.embedders.lengthened import LengthenedEmbedder
from pointsman.backends.embedders.static import cut
from pointsman.core.arrays import Float32Array
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError
from pointsman.core.mapped import map_arrays

__all__ = ["N_BUCKETS", "SCALE", "CommonSenseEmbedder", "hashed_runs", "in_common_sense"]

SCALE = 0.1  # small beside a unit vector: the coordinate hardly moves what is near what
N_BUCKETS = 2**15
_WEIGHTS = "weights.safetensors"
_HEAD_CHARS, _TAIL_CHARS = 400, 200
_FACTORS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], dtype=np.uint32)[:, None]
_BEYOND = "\0" * (len(_FACTORS) - 1)
_MIXER, _FOLD, _SHIFT = np.uint32(0x85EBCA6B), np.uint32(15), np.uint32(32 - 15)


class CommonSenseEmbedder(TextEmbedder):
    """Embedding of a text = [e; 0.1 s], e the inner embedder's, s how hard the text looks, in (-1, 1)."""

    def __init__(self, embed: LengthenedEmbedder, folder: Path | None = None) -> None:
        """Loads the weights.

        Args:
            embed: the embedder that the weights were learnt with.
            folder: what `pointsman.backends.common_sense.train` wrote; None takes the bundled weights.

        Raises:
            CheckpointError: the weights are missing, damaged, or of another embedder.
        """
        path = (folder or asset_path("common_sense")) / _WEIGHTS
        inner = embed.identity
        self._embed = embed
        runs, self._directions, self._constants = _read_weights(path, inner.dim)
        self._runs = np.ascontiguousarray(runs).view(np.complex64)[:, 0]  # easy + i hard: one look-up and sum for both
        revision = hashlib.sha256(inner.revision.encode() + path.read_bytes()).hexdigest()[:16]
        self.identity = EmbedderIdentity(f"{inner.name}+common-sense", revision, inner.dim + 1, normalized=False)

    @property
    def blocking(self) -> bool:
        return self._embed.blocking

    def embed_into(self, texts: Sequence[str], out: Float32Array) -> None:
        """Writes the embeddings of a few texts into `out`, shape (n_texts, dim + 1)."""
        inner = out[:, :-1]
        self._embed.embed_into(texts, inner)
        runs, bounds = hashed_runs(texts)
        of_length = np.add.reduceat(self._runs.take(runs), bounds, axis=1)[:, ::2]
        seen = np.add.accumulate(of_length)[-1]  # in this order however many texts there are
        for row, look, begin, end in zip(out, seen.tolist(), bounds[::2], bounds[1::2], strict=True):
            look /= math.sqrt(len(runs) * (end - begin))
            easy, hard = (self._directions @ row[:-1] + self._constants).tolist()
            row[-1] = SCALE * in_common_sense(easy + look.real, hard + look.imag)


def in_common_sense(easy: float, hard: float) -> float:
    """s of the two logits, in (-1, 1)."""
    most = max(easy, hard, 0.0)
    exp_easy, exp_hard = math.exp(easy - most), math.exp(hard - most)
    return (exp_hard - exp_easy) / (math.exp(-most) + exp_easy + exp_hard)


def hashed_runs(texts: Sequence[str]) -> tuple[NDArray[np.uint32], list[int]]:
    """Buckets, in [0, N_BUCKETS), of the runs of 1 to 5 characters of texts, in lower case, white space as one space.

    Of a text longer than 600 characters the first 400 and the last 200 count: what is asked stands at an end. Runs may
    reach beyond the end, where zeros stand. A run's hash is the sum of its characters times a factor for each place.

    Returns:
        The buckets, shape (5, n_places), a row for each length, and where texts begin and end in it, in turns: text i
        has the columns from bounds[2 i] up to bounds[2 i + 1].
    """
    shown = [f" {' '.join(cut(text, _HEAD_CHARS, _TAIL_CHARS).lower().split())} " for text in texts]
    lengths = [length for text in shown for length in (len(text), len(_BEYOND))]
    bounds = [0, *accumulate(lengths)][:-1]
    codes = "".join([*(text + _BEYOND for text in shown), "\0"]).encode("utf-32-le", "surrogatepass")
    windows = np.ndarray((len(_FACTORS), len(codes) // 4 - len(_BEYOND)), np.uint32, codes, strides=(4, 4))
    hashed = windows * _FACTORS
    for longer, shorter in zip(hashed[1:], hashed, strict=False):  # quicker than an accumulation over five rows
        longer += shorter
    hashed ^= hashed >> _FOLD
    hashed *= _MIXER
    hashed >>= _SHIFT
    return hashed, bounds


def _read_weights(path: Path, dim: int) -> tuple[Float32Array, Float32Array, Float32Array]:
    try:
        arrays = map_arrays(path)
        found = [np.asarray(arrays[name], dtype=np.float32) for name in ("runs", "directions", "constants")]
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path} holds no weights of common sense: {error!r}; install Pointsman again") from error
    shapes, wanted = [array.shape for array in found], [(N_BUCKETS, 2), (2, dim), (2,)]
    if shapes != wanted or not all(np.isfinite(array).all() for array in found):
        raise CheckpointError(f"{path} has arrays of shapes {shapes}, wanted {wanted} and finite values")
    return found[0], found[1], found[2]
