"""The matrix-factorisation model in Flax; `core.mf` is the same formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pointsman.core.mf import MFWeights

__all__ = ["MatrixFactorization", "expected_loss", "loss", "weights_of"]

_NODES, _MASSES = np.polynomial.hermite_e.hermegauss(10)


class MatrixFactorization(nnx.Module):
    """logit(a beats b | e) = (w o (p_a / |p_a| - p_b / |p_b|)) . (W e + b).

    Args:
        n_models, latent_dim, dim: sizes; P is (n_models, latent_dim), W is (latent_dim, dim).
        bias: train b; it stays 0 otherwise.
        rngs: of the initial weights: P standard normal, W and w uniform in +-1 / sqrt(inputs), b zero.
    """

    def __init__(self, n_models: int, latent_dim: int, dim: int, *, bias: bool, rngs: nnx.Rngs) -> None:
        self.model_embeddings = nnx.Param(jax.random.normal(rngs.params(), (n_models, latent_dim)))
        self.projection = nnx.Param(_uniform(rngs.params(), (latent_dim, dim)))
        self.classifier = nnx.Param(_uniform(rngs.params(), (latent_dim,)))
        self.projection_bias = nnx.Param(jnp.zeros(latent_dim)) if bias else None

    def directions(self) -> jax.Array:
        """Rows of P at unit norm, shape (n_models, latent_dim)."""
        p = self.model_embeddings[...]
        return p / jnp.linalg.norm(p, axis=1, keepdims=True)

    def contrast(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """w o (p_a - p_b) at unit norm, shape (n_battles, latent_dim)."""
        directions = self.directions()
        return self.classifier[...] * (directions[first] - directions[second])

    def project(self, embeddings: jax.Array) -> jax.Array:
        """W e + b, shape (n_prompts, latent_dim)."""
        projected = embeddings @ self.projection[...].T
        return projected if self.projection_bias is None else projected + self.projection_bias[...]

    def scores(self, embeddings: jax.Array) -> jax.Array:
        """Logit of every model on every prompt, shape (n_prompts, n_models)."""
        return (self.project(embeddings) * self.classifier[...]) @ self.directions().T

    def __call__(self, embeddings: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
        """Logits that model `first[i]` beats `second[i]` on embedding i, shape (n_battles,)."""
        return jnp.sum(self.contrast(first, second) * self.project(embeddings), axis=1)


def loss(logits: jax.Array, outcome: jax.Array) -> jax.Array:
    """Cross-entropy in nats of the share of the win that went to model_a, per battle."""
    return jax.nn.softplus(logits) - outcome * logits


def expected_loss(
    model: MatrixFactorization,
    embeddings: jax.Array,
    first: jax.Array,
    second: jax.Array,
    outcome: jax.Array,
    *,
    alpha: float,
) -> jax.Array:
    """Expectation of `loss` over embeddings e + alpha N(0, I), per battle.

    Noise reaches the logit through one direction only, v = W^T (w o (p_a - p_b)): the logit is normal with mean m, the
    logit of e itself, and standard deviation alpha |v|. The expectation over it is a ten-point Gauss-Hermite sum.
    """
    contrast = model.contrast(first, second)
    direction = contrast @ model.projection[...]
    mean = jnp.sum(direction * embeddings, axis=1)
    if model.projection_bias is not None:
        mean += contrast @ model.projection_bias[...]
    deviation = alpha * jnp.sqrt(jnp.sum(direction**2, axis=1) + 1e-20)
    nodes = mean[:, None] + deviation[:, None] * _NODES.astype(np.float32)
    masses = (_MASSES / _MASSES.sum()).astype(np.float32)
    return jax.nn.softplus(nodes) @ masses - outcome * mean


def weights_of(model: MatrixFactorization) -> MFWeights:
    """The model's weights for `core`."""
    latent_dim = model.classifier[...].shape[0]
    bias = np.zeros(latent_dim) if model.projection_bias is None else np.asarray(model.projection_bias[...])
    return MFWeights(
        np.asarray(model.model_embeddings[...]),
        np.asarray(model.projection[...]),
        np.asarray(model.classifier[...]),
        bias,
    )


def _uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    bound = 1.0 / np.sqrt(shape[-1])
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
