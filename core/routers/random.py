"""The baseline that knows nothing."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import Embedder
from pointsman.core.pair import ModelPair
from pointsman.core.router import Reading, Router

__all__ = ["RandomCandidatesRouter", "RandomRouter", "load", "load_candidates"]


class RandomRouter(Router):
    """Win rates drawn uniformly from [0, 1)."""

    kind: ClassVar[str] = "random"
    blocking = False

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        return self._rng.random(len(prompts))

    def calculate_strong_win_rate(self, prompt: str) -> float:
        return self._rng.random()


class RandomCandidatesRouter(RandomRouter):
    """The same for the reference over every candidate."""

    def __init__(self, rng: np.random.Generator, n_candidates: int) -> None:
        super().__init__(rng)
        self._n_candidates = n_candidates

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        rates = self._rng.random((len(prompts), self._n_candidates))
        rates[:, 0] = 0.5
        return rates

    def read(self, prompt: str) -> Reading:
        return Reading.of(self.win_rates([prompt])[0].tolist())


def load_candidates(
    checkpoint: Checkpoint, embed: Embedder | None, candidates: Sequence[str]
) -> RandomCandidatesRouter:
    """The router of any models; option `seed` makes it repeatable."""
    return RandomCandidatesRouter(np.random.default_rng(checkpoint.options.get("seed")), len(candidates))


def load(checkpoint: Checkpoint, embed: Embedder | None, pair: ModelPair) -> RandomRouter:
    """The router; option `seed` makes it repeatable."""
    return RandomRouter(np.random.default_rng(checkpoint.options.get("seed")))
