"""How similar a text is to sets of example texts, and from which similarity on it belongs to one of them.

    s_j(e) = cos(e, c_j),   c_j the direction of the mean of set j's embeddings, each at unit norm

Means rather than nearest examples: of ten intents with five examples each, the nearest mean names the right one for
80 % of other texts, the nearest example for 68 % (`benchmarks/bench_rules.py`).
"""

from collections.abc import Sequence

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.similarity import unit_rows

__all__ = ["directions", "left_out_similarities", "similarities", "similarity_threshold"]


def directions(sets: Sequence[AnyFloatArray]) -> Float32Array:
    """Direction of the mean of each set, at unit norm, shape (n_sets, dim).

    Args:
        sets: embeddings of the examples, shape (n_examples, dim) each, at least one example.
    """
    means = [unit_rows(np.asarray(each, dtype=np.float32)).mean(axis=0) for each in sets]
    return np.asarray(unit_rows(np.array(means, dtype=np.float32)), dtype=np.float32)


def similarities(vectors: Float32Array, embedding: Float32Array) -> Float32Array:
    """Cosines of one text, shape (dim,), to directions, shape (n_sets, dim); 0 for an embedding of norm 0."""
    norm = float(np.sqrt(embedding @ embedding))
    return np.asarray(vectors @ (embedding / np.float32(norm if norm > 0.0 else 1.0)))


def left_out_similarities(embeddings: AnyFloatArray) -> FloatArray:
    """Cosine of each example to the mean of the others of its set, shape (n_examples,).

    Args:
        embeddings: of one set, shape (n_examples, dim), at least two.
    """
    unit = unit_rows(np.asarray(embeddings, dtype=np.float64))
    others = unit_rows(unit.sum(axis=0) - unit)
    return np.asarray((unit * others).sum(axis=1))


def similarity_threshold(inside: AnyFloatArray, outside: AnyFloatArray) -> float:
    """Similarity from which on a text belongs to a set: where as large a share of both sides as possible is right.

    The share of `inside` at or above the threshold plus the share of `outside` below it is largest; of equally good
    thresholds it is the middle of the widest gap. Without texts outside it is the lowest similarity inside.

    Args:
        inside, outside: similarities of texts that belong to the set, at least one, and of texts that do not.
    """
    inside = np.sort(np.asarray(inside, dtype=np.float64))
    outside = np.sort(np.asarray(outside, dtype=np.float64))
    if not outside.size:
        return float(inside[0])
    every = np.unique(np.concatenate([inside, outside, [1.0]]))
    cuts = np.append(every[0], (every[:-1] + every[1:]) / 2.0)
    gaps = np.append(0.0, np.diff(every))
    right = 1.0 - np.searchsorted(inside, cuts) / inside.size + np.searchsorted(outside, cuts) / outside.size
    best = right >= right.max() - 1e-12
    return float(cuts[np.argmax(np.where(best, gaps, -1.0))])
