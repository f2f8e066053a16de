"""The baseline that knows nothing."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.pair import ModelPair
from pointsman.core.router import Router

__all__ = ["RandomRouter", "load"]


class RandomRouter(Router):
    """Win rates drawn uniformly from [0, 1)."""

    kind: ClassVar[str] = "random"
    blocking = False

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        return self._rng.random(len(prompts))


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> RandomRouter:
    """The router; option `seed` makes it repeatable."""
    return RandomRouter(np.random.default_rng(checkpoint.options.get("seed")))
