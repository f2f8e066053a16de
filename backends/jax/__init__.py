"""Training in JAX, Flax and optax."""
