"""A small checkpoint and its embedder."""

from collections.abc import Sequence

import numpy as np

from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import CANARIES, EmbedderIdentity
from pointsman.core.pair import ModelPair

DIM = 8
IDENTITY = EmbedderIdentity("hash", "1", DIM, True)


class HashEmbedder:
    """Vectors that depend on nothing but the text."""

    blocking = False

    def __init__(self, identity: EmbedderIdentity = IDENTITY, drift: float = 0.0) -> None:
        self.identity = identity
        self.drift = drift

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(list(t.encode())).standard_normal(DIM) for t in texts]
        noise = np.random.default_rng(0).standard_normal((len(rows), DIM)) * self.drift
        rows = np.array(rows).reshape(-1, DIM) + noise
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def mf_checkpoint() -> Checkpoint:
    """A matrix-factorisation checkpoint on hash embeddings."""
    rng = np.random.default_rng(1)
    return Checkpoint(
        kind="mf",
        models=("a", "b", "c"),
        pair=ModelPair("a", "b"),
        embedder=HashEmbedder().identity,
        canaries=HashEmbedder()(CANARIES),
        arrays={
            "model_embeddings": rng.standard_normal((3, 4)).astype(np.float32),
            "projection": rng.standard_normal((4, DIM)).astype(np.float32),
            "classifier": rng.standard_normal(4).astype(np.float32),
            "projection_bias": rng.standard_normal(4).astype(np.float32),
        },
    )
