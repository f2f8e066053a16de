"""What every router can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.decision import Decision
from pointsman.core.embedding import Embedder
from pointsman.core.errors import PointsmanError
from pointsman.core.expected_cost import LabelledBill
from pointsman.core.pair import ModelPair
from pointsman.core.quick_dataclass import quick_dataclass

__all__ = ["CandidateMeans", "EmbeddingRouter", "Reading", "Router"]


@dataclass(frozen=True, slots=True)
class CandidateMeans:
    """Means of a candidate on the labelled prompts; None if unknown."""

    score: float
    usd: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


@quick_dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a router reads from one prompt.

    Attributes:
        win_rate: strong model's win rate in [0, 1]; of several candidates the mean over all but the reference.
        reason: "win_rate", or why the win rate is the fallback to strong.
        embedding: the prompt's, float32, shape (dim,); None where the router computes none.
        win_rates: of the reference over every candidate, 1/2 for itself; None for a router of one pair.
        bills: cost of similar labelled prompts at each candidate; None if the router does not know.
    """

    win_rate: float
    reason: str = "win_rate"
    embedding: Float32Array | None = None
    win_rates: tuple[float, ...] | None = None
    bills: tuple[LabelledBill, ...] | None = None

    @classmethod
    def of(
        cls,
        win_rates: Sequence[float],
        *,
        embedding: Float32Array | None = None,
        bills: tuple[LabelledBill, ...] | None = None,
    ) -> "Reading":
        """The reading of a router of candidates, the reference first."""
        others = win_rates[1:]
        return cls(sum(others) / len(others), "win_rate", embedding, tuple(win_rates), bills)


class Router(ABC):
    """Predicts, per prompt, how likely the reference's answer is to be preferred to each candidate's.

    A router of one pair predicts how likely the strong model's answer is to be preferred to the weak one's.

    Attributes:
        means: each candidate's means on the labelled prompts; None if the router does not know.
    """

    kind: ClassVar[str]
    means: tuple[CandidateMeans, ...] | None = None

    @property
    def blocking(self) -> bool:
        """True if `win_rates` may wait on I/O or compute for long: a server then calls it in a thread."""
        return True

    @abstractmethod
    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        """Win rates of the reference over every candidate in [0, 1], float64, shape (n_prompts, n_candidates).

        The reference is the first candidate; its own column is 1/2. A router of one pair gives those of the strong
        model over the weak one alone, shape (n_prompts,).
        """

    def calculate_strong_win_rate(self, prompt: str) -> float:
        """Strong model's win rate for one prompt, in [0, 1]."""
        return float(self.win_rates([prompt])[0])

    def read(self, prompt: str) -> Reading:
        """Win rate of one prompt, its reason, and what else was computed."""
        return Reading(self.calculate_strong_win_rate(prompt))

    def read_many(self, prompts: Sequence[str]) -> list[Reading]:
        """The result of `read` for each prompt; overridden by routers that read several prompts faster together."""
        return [self.read(prompt) for prompt in prompts]

    def route(self, prompt: str, threshold: float, pair: ModelPair) -> Decision:
        """The model of `pair` for this prompt: strong iff win_rate >= threshold, or if the router fails.

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
    """A router that reads only a prompt's embedding."""

    def __init__(self, embed: Embedder) -> None:
        self.embed = embed

    @property
    def blocking(self) -> bool:
        return self.embed.blocking

    @abstractmethod
    def score(self, embeddings: AnyFloatArray) -> FloatArray:
        """The result of `win_rates`, from embeddings of shape (n_prompts, dim)."""

    def score_one(self, embedding: Float32Array) -> float:
        """Win rate in [0, 1] from one embedding of shape (dim,)."""
        return float(self.score(embedding[None, :])[0])

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        return self.score(self.embed(prompts))

    def calculate_strong_win_rate(self, prompt: str) -> float:
        return self.score_one(self.embed([prompt])[0])

    def reading(self, embedding: Float32Array) -> Reading:
        """What is read from one embedding of shape (dim,)."""
        return Reading(self.score_one(embedding), "win_rate", embedding)

    def read(self, prompt: str) -> Reading:
        return self.reading(self.embed([prompt])[0])

    def read_many(self, prompts: Sequence[str]) -> list[Reading]:
        return [self.reading(embedding.copy()) for embedding in self.embed(prompts)]  # each may be kept for long
