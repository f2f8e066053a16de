"""Matrix factorisation: how well a model suits a prompt (Ong et al. 2024, section 3.1).

    logit_m(e)       = w . (p_m / |p_m| o (W e + b))
    win_rate(s over k) = sigmoid(logit_s - logit_k)

The reference has no bias b. With one, the mean strength of a model need not be read out of the embedding's mean.
For a fixed pair the formula is linear in e: logit_s - logit_k = v . e + c with v = W^T (w o (p_s - p_k)), which
`fold_pair` computes once, so that a decision costs one dot product.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.activations import sigmoid
from pointsman.core.arrays import AnyFloatArray, FloatArray, IntArray
from pointsman.core.embedding import check_embeddings

__all__ = ["FoldedPair", "MFWeights", "fold_pair", "folded_win_rates", "model_logits", "pair_win_rates"]


@dataclass(frozen=True, slots=True, eq=False)
class MFWeights:
    """Weights of a matrix-factorisation router, float64.

    Attributes:
        model_embeddings: P, shape (n_models, latent_dim); used by direction alone.
        projection: W, shape (latent_dim, dim).
        classifier: w, shape (latent_dim,).
        projection_bias: b, shape (latent_dim,); zeros in the reference.

    Raises:
        ValueError: shapes do not fit together, a value is not finite, or a row of P is zero.
    """

    model_embeddings: FloatArray
    projection: FloatArray
    classifier: FloatArray
    projection_bias: FloatArray

    def __post_init__(self) -> None:
        for name in ("model_embeddings", "projection", "classifier", "projection_bias"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        shapes = [a.shape for a in (self.model_embeddings, self.projection, self.classifier, self.projection_bias)]
        latent_dim = self.classifier.size
        fits = (
            self.model_embeddings.ndim == self.projection.ndim == 2
            and shapes[0][1] == shapes[1][0] == latent_dim
            and shapes[2] == shapes[3] == (latent_dim,)
        )
        if not fits:
            raise ValueError(
                f"model_embeddings, projection, classifier and projection_bias have shapes {shapes}, "
                "wanted (n_models, latent_dim), (latent_dim, dim), (latent_dim,), (latent_dim,)"
            )
        for array in (self.model_embeddings, self.projection, self.classifier, self.projection_bias):
            if not np.isfinite(array).all():
                raise ValueError("matrix-factorisation weights contain NaN or infinity, wanted finite values")
        if not np.linalg.norm(self.model_embeddings, axis=1).all():
            row = int(np.flatnonzero(np.linalg.norm(self.model_embeddings, axis=1) == 0)[0])
            raise ValueError(f"model_embeddings row {row} is zero: it has no direction")

    @property
    def dim(self) -> int:
        """Length of the prompt embeddings."""
        return int(self.projection.shape[1])

    @property
    def directions(self) -> FloatArray:
        """Rows of P at unit norm, shape (n_models, latent_dim)."""
        return np.asarray(self.model_embeddings / np.linalg.norm(self.model_embeddings, axis=1, keepdims=True))


@dataclass(frozen=True, slots=True, eq=False)
class FoldedPair:
    """The one vector and constant that a fixed pair needs: logit difference = vector . e + constant."""

    vector: FloatArray
    constant: float


def model_logits(weights: MFWeights, embeddings: AnyFloatArray) -> FloatArray:
    """Logit of every model on every prompt, shape (n_prompts, n_models), in nats.

    Args:
        embeddings: shape (n_prompts, dim).

    Raises:
        ValueError: `embeddings` have another dimension or are not finite.
    """
    e = np.asarray(check_embeddings(embeddings, weights.dim), dtype=np.float64)
    projected = e @ weights.projection.T + weights.projection_bias
    return np.asarray((projected * weights.classifier) @ weights.directions.T)


def pair_win_rates(weights: MFWeights, embeddings: AnyFloatArray, first: IntArray, second: IntArray) -> FloatArray:
    """Win rate of model `first[i]` over model `second[i]` on prompt i, in [0, 1], shape (n_prompts,).

    Args:
        embeddings: shape (n_prompts, dim).
        first, second: rows of `weights.model_embeddings`, shape (n_prompts,).

    Raises:
        ValueError: shapes do not match, or an embedding is not finite.
    """
    logits = model_logits(weights, embeddings)
    rows = np.arange(len(logits))
    if np.shape(first) != rows.shape or np.shape(second) != rows.shape:
        raise ValueError(
            f"first and second have shapes {np.shape(first)} and {np.shape(second)}, wanted {rows.shape}: "
            "one pair of models per prompt"
        )
    return sigmoid(logits[rows, first] - logits[rows, second])


def fold_pair(weights: MFWeights, strong: int, weak: int) -> FoldedPair:
    """The pair as one linear form: v = W^T (w o (p_s - p_k)), c = b . (w o (p_s - p_k)), p at unit norm.

    Args:
        strong, weak: rows of `weights.model_embeddings`.
    """
    directions = weights.directions
    contrast = weights.classifier * (directions[strong] - directions[weak])
    return FoldedPair(contrast @ weights.projection, float(contrast @ weights.projection_bias))


def folded_win_rates(pair: FoldedPair, embeddings: AnyFloatArray) -> FloatArray:
    """Strong model's win rates of a folded pair, in [0, 1], shape (n_prompts,).

    Args:
        embeddings: shape (n_prompts, dim).

    Raises:
        ValueError: `embeddings` have another dimension or are not finite.
    """
    e = np.asarray(check_embeddings(embeddings, pair.vector.size), dtype=np.float64)
    return sigmoid(e @ pair.vector + pair.constant)
