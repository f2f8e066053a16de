"""Win rates over many candidates that are learned from comparisons: a score (`core.learned_score`) of each candidate.

Each reads the router's win rate over its candidate beside the prompt's embedding and length, and is learned from the
comparisons of that candidate. Of a candidate that was compared too seldom the router's own win rate stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.learned_score import LEAST_COMPARED, LearnedScore, Seen, fit_learned_score

__all__ = ["LearnedCandidates", "fit_learned_candidates"]


@dataclass(frozen=True, slots=True, eq=False)
class LearnedCandidates:
    """Scores by candidate.

    Attributes:
        scores: of each candidate but the reference; None where the router's win rate stays.
    """

    scores: tuple[LearnedScore | None, ...]

    def win_rates(
        self, win_rates: Sequence[float], n_characters: int, embedding: Float32Array | None
    ) -> tuple[float, ...] | None:
        """Of the reference over each candidate, for one prompt; None where they cannot be told.

        Args:
            win_rates: the router's, the reference's own first.
        """
        if len(win_rates) != len(self.scores) + 1:
            return None
        found = [win_rates[0]]
        for score, rate in zip(self.scores, win_rates[1:], strict=True):
            one = rate if score is None or rate >= 1.0 else score.one(rate, n_characters, embedding)
            if one is None:
                return None
            found.append(one)
        return tuple(found)

    def to_dict(self) -> list[dict[str, Any] | None]:
        """As JSON types."""
        return [None if score is None else score.to_dict() for score in self.scores]

    @classmethod
    def from_dict(cls, kept: Sequence[dict[str, Any] | None]) -> "LearnedCandidates":
        """What `to_dict` gave.

        Raises:
            ValueError: it is damaged.
        """
        return cls(tuple(None if each is None else LearnedScore.from_dict(each) for each in kept))


def fit_learned_candidates(
    win_rates: FloatArray, n_characters: FloatArray, embeddings: Float32Array, compared: IntArray, losses: FloatArray
) -> tuple[LearnedCandidates, FloatArray]:
    """The scores, and the win rates of each comparison as they would be without it, shape (n_comparisons, n_models).

    Args:
        win_rates: a router's, the reference's own first, shape (n_comparisons, n_models).
        n_characters: of each prompt.
        embeddings: shape (n_comparisons, dim).
        compared: column of the candidate that each comparison is of.
        losses: the reference's score less the candidate's.

    Raises:
        ValueError: no candidate has 50 comparisons, or a value is not finite.
    """
    n_models = win_rates.shape[1]
    counts = np.bincount(compared, minlength=n_models)
    learned = [m for m in range(1, n_models) if counts[m] >= LEAST_COMPARED]
    if not learned:
        raise ValueError(f"{counts[1:].tolist()} comparisons by candidate, wanted at least {LEAST_COMPARED} of one")
    scores: list[LearnedScore | None] = [None] * (n_models - 1)
    left_out = np.array(win_rates, dtype=np.float64)
    for m in learned:
        seen, mine = Seen(win_rates[:, m], n_characters, embeddings), compared == m
        score, without = fit_learned_score(Seen(win_rates[mine, m], n_characters[mine], embeddings[mine]), losses[mine])
        rates = score.many(seen)
        rates[mine] = without
        left_out[:, m] = np.where(win_rates[:, m] >= 1.0, 1.0, rates)
        scores[m - 1] = score
    return LearnedCandidates(tuple(scores)), left_out
