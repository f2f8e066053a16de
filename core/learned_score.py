"""A score learned from comparisons: ridge regression of the loss on features of a prompt.

    x      = (e / |e|, logit(win_rate) / 0.2, ln(1 + n_characters)), the last two centred and scaled by their spread
    loss   = b + w (x - mean x)             least squares with the penalty |w|^2 x PENALTY
    score  = (1 + loss) / 2, within [0, 1]  the strong model's expected share of the win

It reads the router's own embedding and win rate, so a prompt is embedded once, and one product of vectors scores it.
What is left out in turn is predicted in closed form: y_i - (y_i - p_i) / (1 - h_i), h the diagonal of the hat matrix.
"""

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray

__all__ = ["LEAST_COMPARED", "LearnedScore", "Seen", "fit_learned_score"]

_PENALTY = 30.0
_LOGIT_SPREAD = 0.2
LEAST_COMPARED = 50


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is known of some prompts before they are answered.

    Attributes:
        win_rates: a router's, in [0, 1], shape (n_prompts,).
        n_characters: shape (n_prompts,).
        embeddings: shape (n_prompts, dim); dim is 0 where the router computes none.
    """

    win_rates: FloatArray
    n_characters: FloatArray
    embeddings: Float32Array

    def plain(self) -> FloatArray:
        """The two features beside the embedding, not scaled yet, shape (n_prompts, 2)."""
        rates = np.clip(self.win_rates, 1e-6, 1.0 - 1e-6)
        return np.stack([np.log(rates / (1.0 - rates)) / _LOGIT_SPREAD, np.log1p(self.n_characters)], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedScore:
    """Weights of a score.

    Attributes:
        weights: of the embedding at unit norm, float32, shape (dim,).
        rate, length: of the two other features.
        constant: the loss where all features are 0.
    """

    weights: Float32Array
    rate: float
    length: float
    constant: float

    def one(self, win_rate: float, n_characters: int, embedding: Float32Array | None) -> float | None:
        """Score of one prompt; None if its embedding is missing or has another dimension."""
        size = self.weights.size
        if size and (embedding is None or embedding.size != size):
            return None
        rate = min(max(win_rate, 1e-6), 1.0 - 1e-6)
        loss = self.constant + self.rate * math.log(rate / (1.0 - rate)) / _LOGIT_SPREAD
        loss += self.length * math.log1p(n_characters)
        if size and embedding is not None and (norm := math.sqrt(float(embedding @ embedding))) > 0.0:
            loss += float(self.weights @ embedding) / norm
        return min(max((1.0 + loss) / 2.0, 0.0), 1.0)

    def many(self, seen: Seen) -> FloatArray:
        """Scores, shape (n_prompts,); as `one` gives them, but for rounding."""
        plain = seen.plain() @ np.array([self.rate, self.length])
        loss = self.constant + plain + _unit(seen.embeddings) @ self.weights.astype(np.float64)
        return np.asarray(np.clip((1.0 + loss) / 2.0, 0.0, 1.0))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; the weights as base64 of little-endian float32."""
        weights = base64.b64encode(self.weights.astype("<f4").tobytes()).decode()
        return {"weights": weights, "rate": self.rate, "length": self.length, "constant": self.constant}

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> "LearnedScore":
        """What `to_dict` gave.

        Raises:
            ValueError: it is damaged.
        """
        try:
            weights = np.frombuffer(base64.b64decode(kept["weights"], validate=True), dtype="<f4")
            found = cls(weights.astype(np.float32), *(float(kept[name]) for name in ("rate", "length", "constant")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"a learned score is damaged: {error}") from error
        if not np.isfinite([*found.weights, found.rate, found.length, found.constant]).all():
            raise ValueError("a learned score is damaged: it is not finite")
        return found


def fit_learned_score(seen: Seen, losses: FloatArray, *, penalty: float = _PENALTY) -> tuple[LearnedScore, FloatArray]:
    """The score, and that of each prompt as it would be without the prompt itself, shape (n_prompts,).

    Args:
        losses: strong's score less weak's, shape (n_prompts,).
        penalty: of the weights, positive, in prompts.

    Raises:
        ValueError: there are fewer than 50 prompts, or a value is not finite.
    """
    n = len(losses)
    plain = seen.plain()
    finite = all(np.isfinite(values).all() for values in (plain, losses, seen.embeddings))
    if n < LEAST_COMPARED or not finite:
        raise ValueError(f"{n} comparisons, wanted at least {LEAST_COMPARED}, all of them finite")
    mean, spread = plain.mean(axis=0), plain.std(axis=0)
    scale = np.where(spread > 0.0, 1.0 / np.where(spread > 0.0, spread, 1.0), 0.0)
    x = np.concatenate([_unit(seen.embeddings), (plain - mean) * scale], axis=1)
    centre, average = x.mean(axis=0), float(losses.mean())
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    row = (vt.T * (s / (s**2 + penalty))) @ (u.T @ (losses - average))
    fitted = average + (x - centre) @ row
    hat = (u**2) @ (s**2 / (s**2 + penalty)) + 1.0 / n
    left_out = losses - (losses - fitted) / np.maximum(1.0 - hat, 1e-9)
    dim = seen.embeddings.shape[1]
    rate, length = (row[dim:] * scale).tolist()
    constant = average - float(centre @ row) - float(mean @ (row[dim:] * scale))
    score = LearnedScore(row[:dim].astype(np.float32), rate, length, constant)
    return score, np.clip((1.0 + left_out) / 2.0, 0.0, 1.0)


def _unit(embeddings: Float32Array) -> FloatArray:
    values = np.asarray(embeddings, dtype=np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norms > 0.0, norms, 1.0))
