"""What every router can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.decision import Decision
from pointsman.core.embedding import Embedder
from pointsman.core.errors import PointsmanError
from pointsman.core.pair import ModelPair

__all__ = ["EmbeddingRouter", "Reading", "Router"]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a router reads from one prompt.

    Attributes:
        win_rate: strong model's win rate in [0, 1].
        reason: "win_rate", or why the win rate is the fallback to strong.
        embedding: the prompt's, float32, shape (dim,); None where the router computes none.
    """

    win_rate: float
    reason: str = "win_rate"
    embedding: Float32Array | None = None


class Router(ABC):
    """Predicts, per prompt, how likely the strong model's answer is to be preferred."""

    kind: ClassVar[str]

    @property
    def blocking(self) -> bool:
        """True if `win_rates` may wait on I/O or compute for long: a server then calls it in a thread."""
        return True

    @abstractmethod
    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        """Strong model's win rates in [0, 1], shape (n_prompts,), float64."""

    def calculate_strong_win_rate(self, prompt: str) -> float:
        """Strong model's win rate for one prompt, in [0, 1]."""
        return float(self.win_rates([prompt])[0])

    def read(self, prompt: str) -> Reading:
        """Win rate of one prompt, the reason to give for it, and what was computed on the way."""
        return Reading(self.calculate_strong_win_rate(prompt))

    def route(self, prompt: str, threshold: float, pair: ModelPair) -> Decision:
        """The model of `pair` for this prompt: strong iff win_rate >= threshold, or where the router fails.

        Raises:
            ValueError: `threshold` leaves [0, 1].
        """
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}, wanted a number in [0, 1]")
        win_rate: float | None
        try:
            reading = self.read(prompt)
            win_rate, reason = reading.win_rate, reading.reason
        except PointsmanError as error:
            win_rate, reason = None, f"router failed: {error}"
        return Decision(
            model=pair.strong if win_rate is None or win_rate >= threshold else pair.weak,
            win_rate=win_rate,
            threshold=threshold,
            router=self.kind,
            reason=reason,
            candidates=(pair.strong, pair.weak),
        )


class EmbeddingRouter(Router):
    """A router that reads a prompt through its embedding alone."""

    def __init__(self, embed: Embedder) -> None:
        self.embed = embed

    @property
    def blocking(self) -> bool:
        return self.embed.blocking

    @abstractmethod
    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        """Win rates in [0, 1], shape (n_prompts,), from embeddings of shape (n_prompts, dim)."""

    def score_one(self, embedding: Float32Array) -> float:
        """Win rate in [0, 1] from one embedding of shape (dim,)."""
        return float(self.score(embedding[None, :])[0])

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        return self.score(self.embed(prompts))

    def calculate_strong_win_rate(self, prompt: str) -> float:
        return self.score_one(self.embed([prompt])[0])

    def read(self, prompt: str) -> Reading:
        embedding = self.embed([prompt])[0]
        return Reading(self.score_one(embedding), "win_rate", embedding)
