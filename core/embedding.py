"""What an embedder is, and how a checkpoint recognises the one it was trained with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array
from pointsman.core.errors import EmbedderMismatchError

__all__ = ["CANARIES", "Embedder", "EmbedderIdentity", "check_canaries", "check_embeddings", "check_identity"]

CANARIES = (
    "What is the capital of France?",
    "Prove that the square root of two is irrational.",
    "Write a Python function that merges two sorted lists and explain its running time.",
)
MIN_CANARY_COSINE = 0.999


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """Which embedder made a set of embeddings.

    Attributes:
        name: resolves to the embedder again, e.g. "static" or "openai/text-embedding-3-small".
        revision: version or content hash of its weights; "" if a service does not report one.
        dim: length of an embedding.
        normalized: whether embeddings have unit Euclidean norm.
    """

    name: str
    revision: str
    dim: int
    normalized: bool


class Embedder(Protocol):
    """Turns texts into vectors.

    `blocking` says whether a call may wait on I/O or compute for long (a server then calls it in a thread).
    """

    @property
    def identity(self) -> EmbedderIdentity: ...

    @property
    def blocking(self) -> bool: ...

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        """Embeddings of `texts`, float32, shape (n_texts, dim), finite."""
        ...


def check_identity(trained: EmbedderIdentity, serving: EmbedderIdentity) -> None:
    """Raises `EmbedderMismatchError` where two identities differ in anything that changes the numbers."""
    for field in ("name", "dim", "normalized", "revision"):
        wanted, got = getattr(trained, field), getattr(serving, field)
        if field == "revision" and not (wanted and got):
            continue
        if wanted != got:
            raise EmbedderMismatchError(
                f"the checkpoint was trained with embedder {trained.name!r} ({field} {wanted!r}), "
                f"but is served with {serving.name!r} ({field} {got!r}); "
                f"serve it with {trained.name!r} or train it again with {serving.name!r}"
            )


def check_canaries(trained: AnyFloatArray, serving: AnyFloatArray, name: str) -> None:
    """Raises `EmbedderMismatchError` where an embedder has drifted since training.

    Args:
        trained: embeddings of `CANARIES` at training time, shape (3, dim).
        serving: embeddings of `CANARIES` now, shape (3, dim).
        name: the embedder's name, for the message.
    """
    a, b = np.asarray(trained, dtype=np.float64), np.asarray(serving, dtype=np.float64)
    if a.shape != b.shape:
        raise EmbedderMismatchError(
            f"embedder {name!r} gives canary embeddings of shape {b.shape}, the checkpoint holds {a.shape}; "
            "use the embedder it was trained with or train it again"
        )
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.einsum("ij,ij->i", a, b) / np.where(norms > 0, norms, 1.0)
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= MIN_CANARY_COSINE:
        raise EmbedderMismatchError(
            f"embedder {name!r} has drifted: canary {CANARIES[worst]!r} has cosine {cosines[worst]:.4f} to its "
            f"embedding at training time, wanted at least {MIN_CANARY_COSINE}; "
            "use the embedder it was trained with or train it again"
        )


def check_embeddings(embeddings: AnyFloatArray, dim: int) -> AnyFloatArray:
    """`embeddings` if they have shape (n_prompts, dim) and are finite.

    Raises:
        ValueError: the shape is another, or a value is NaN or infinite.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or embeddings.shape[1] != dim:
        raise ValueError(f"embeddings have shape {embeddings.shape}, wanted (n_prompts, {dim})")
    if not np.isfinite(embeddings).all():
        bad = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise ValueError(f"embedding in row {bad} contains NaN or infinity, wanted finite values")
    return embeddings
