"""The sample of prompts that a trained checkpoint is to be compared with live traffic by."""

from collections.abc import Callable, Sequence

import numpy as np

from pointsman.backends.export import served_win_rates
from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.embedding import Embedder
from pointsman.core.novelty import Centroids, fit_centroids
from pointsman.core.reference import Reference, read_reference, with_reference

__all__ = ["nearest_examples", "recalibrated", "referenced", "stored_centroids"]

_N_CENTROIDS = 64
_MAX_REFERENCE = 1000
_MAX_FITTED = 20_000
_MAX_CHARACTERS = 200


def referenced(
    checkpoint: Checkpoint,
    embeddings: Float32Array,
    *,
    source: str,
    seed: int,
    held: IntArray | None = None,
    win_rates: Callable[[IntArray], FloatArray] | None = None,
) -> Checkpoint:
    """The checkpoint with centroids of most of its training prompts and a reference of up to 1,000 others.

    Args:
        embeddings: of the training prompts, shape (n_prompts, dim).
        source: what the prompts are.
        held: rows that were held out from training; up to half of all, at random, if None.
        win_rates: of rows, where training must not have seen them; what the checkpoint's router gives if None.
    """
    order = np.random.default_rng(seed).permutation(len(embeddings))
    if held is None or not 0 < len(held) < len(embeddings):
        held = order[: min(_MAX_REFERENCE, max(1, len(order) // 2))]
    fitted = order[~np.isin(order, held)][:_MAX_FITTED]
    rows = np.sort(order[np.isin(order, held)][:_MAX_REFERENCE])
    if not len(fitted) or not np.any(embeddings[fitted]):
        return checkpoint
    centroids = stored_centroids(embeddings[fitted], seed=seed)
    rates = served_win_rates(checkpoint, embeddings[rows]) if win_rates is None else win_rates(rows)
    return with_reference(
        checkpoint,
        Reference(
            f"{counted(len(rows), 'prompt')} of {source}", rates, centroids.distances(embeddings[rows]), centroids
        ),
    )


def recalibrated(
    checkpoint: Checkpoint,
    prompts: Sequence[str],
    win_rates: FloatArray,
    *,
    embed: Embedder | None,
    source: str,
    keep_prompts: bool = False,
) -> Checkpoint:
    """The checkpoint with a reference of prompts that it is to serve, drawn at random.

    Its centroids stay, with their examples; where it has none, the first half of the prompts gives some.

    Args:
        win_rates: of the prompts, shape (n_prompts,).
        embed: the checkpoint's embedder, if any.
        keep_prompts: keep the text of a short prompt near each centroid.
    """
    if embed is None:
        return with_reference(checkpoint, Reference(f"{counted(len(prompts), 'prompt')} of {source}", win_rates))
    old, values = read_reference(checkpoint), embed(prompts)
    centroids = old.centroids if old is not None else None
    examples = old.examples if old is not None and centroids is not None else ()
    first = 0
    if centroids is None:
        first = len(prompts) // 2
        if not np.any(values[:first]):
            return with_reference(checkpoint, Reference(f"{counted(len(prompts), 'prompt')} of {source}", win_rates))
        centroids = stored_centroids(values[:first], seed=0)
    if keep_prompts:
        examples = nearest_examples(centroids, prompts, values)
    rows = slice(first, first + _MAX_REFERENCE)
    distances = centroids.distances(values[rows])
    source = f"{counted(len(distances), 'prompt')} of {source}"
    return with_reference(checkpoint, Reference(source, win_rates[rows], distances, centroids, examples))


def stored_centroids(embeddings: Float32Array, *, seed: int) -> Centroids:
    """64 centroids, rounded as the checkpoint will round them: distances must be the same before and after."""
    fitted = fit_centroids(embeddings, _N_CENTROIDS, rng=np.random.default_rng(seed))
    return Centroids(fitted.vectors.astype(np.float16).astype(np.float32))


def nearest_examples(centroids: Centroids, prompts: Sequence[str], embeddings: Float32Array) -> tuple[str, ...]:
    """For each centroid the nearest prompt of at most 200 characters; the nearest of all, cut, where none is short."""
    cosines = centroids.cosines(embeddings)
    short = np.array([len(prompt.strip()) <= _MAX_CHARACTERS for prompt in prompts])
    rows = np.where(short[:, None], cosines, -2.0 if short.any() else cosines).argmax(axis=0)
    return tuple(prompts[row].strip()[:_MAX_CHARACTERS] for row in rows)
