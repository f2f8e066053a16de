"""What every router can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pointsman.core.arrays import AnyFloatArray, FloatArray
from pointsman.core.decision import Decision
from pointsman.core.embedding import Embedder
from pointsman.core.errors import PointsmanError
from pointsman.core.pair import ModelPair

__all__ = ["EmbeddingRouter", "Router"]


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

    def read(self, prompt: str) -> tuple[float, str]:
        """Win rate of one prompt, and the reason to give: "win_rate", or why it is the fallback to strong."""
        return self.calculate_strong_win_rate(prompt), "win_rate"

    def route(self, prompt: str, threshold: float, pair: ModelPair) -> Decision:
        """The model of `pair` for this prompt: strong iff win_rate >= threshold, or where the router fails.

        Raises:
            ValueError: `threshold` leaves [0, 1].
        """
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}, wanted a number in [0, 1]")
        win_rate: float | None
        try:
            win_rate, reason = self.read(prompt)
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

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        return self.score(self.embed(prompts))
