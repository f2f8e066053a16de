"""Any number of candidates from a kind that knows pairs: the reference against each of the others."""

from collections.abc import Callable, Sequence

import numpy as np

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.errors import CheckpointError
from pointsman.core.pair import ModelPair
from pointsman.core.router import EmbeddingRouter, Reading, Router

__all__ = ["PairsRouter", "load_pairs"]


class PairsRouter(EmbeddingRouter):
    """Routers of the reference and each other candidate, which share an embedding."""

    kind = "pairs"

    def __init__(self, routers: Sequence[EmbeddingRouter]) -> None:
        super().__init__(routers[0].embed)
        self._routers = tuple(routers)

    @property
    def blocking(self) -> bool:
        return any(router.blocking for router in self._routers)

    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        return np.stack([np.full(len(embeddings), 0.5), *(r.score(embeddings) for r in self._routers)], axis=1)

    def reading(self, embedding: Float32Array) -> Reading:
        return Reading.of([0.5, *(router.score_one(embedding) for router in self._routers)], embedding=embedding)


def load_pairs(
    load: Callable[[Checkpoint, Embedder | None, ModelPair], Router],
    checkpoint: Checkpoint,
    embed: Embedder | None,
    candidates: Sequence[str],
) -> Router:
    """The router of candidates, the reference first, from a loader of pairs.

    Raises:
        CheckpointError: the kind does not read embeddings, so that it can weigh two models only.
    """
    routers = [load(checkpoint, embed, ModelPair(candidates[0], name)) for name in candidates[1:]]
    able = [router for router in routers if isinstance(router, EmbeddingRouter)]
    if len(able) < len(routers):
        raise CheckpointError(
            f"kind {checkpoint.kind!r} weighs two models, not {len(candidates)} ({', '.join(candidates)}): "
            "configure strong and weak, or train a kind for any number: blend, linear, knn, mf, sw-ranking or bert"
        )
    return PairsRouter(able)
