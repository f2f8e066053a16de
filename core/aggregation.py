"""From a language model's output logits to a win rate."""

import numpy as np

from pointsman.core.activations import softmax
from pointsman.core.arrays import AnyFloatArray, FloatArray

__all__ = ["N_SCORES", "score_token_win_rates", "three_class_win_rates"]

N_SCORES = 5


def three_class_win_rates(logits: AnyFloatArray) -> FloatArray:
    """P(strong wins) from logits over (strong wins, tie, weak wins).

    win_rate = 1 - (p_tie + p_weak), which is p_strong (Ong et al. 2024, BERT classifier).

    Args:
        logits: shape (n_prompts, 3), in nats.

    Returns:
        Win rates in [0, 1], shape (n_prompts,).

    Raises:
        ValueError: the shape is another, or a logit is not finite.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != 3:
        raise ValueError(f"logits have shape {logits.shape}, wanted (n_prompts, 3): strong wins, tie, weak wins")
    return np.asarray(softmax(logits)[:, 0])


def score_token_win_rates(logits: AnyFloatArray, *, score_threshold: int = 4) -> FloatArray:
    """Strong model's win rate from logits over the five score tokens `[[1]]` .. `[[5]]`.

    A high score says that the weak model suffices: win_rate = sum of p(score) over score < score_threshold
    (Ong et al. 2024, causal LLM classifier).

    Args:
        logits: shape (n_prompts, 5), in nats, lowest score first.
        score_threshold: lowest score at which the weak model suffices, 1 to 5.

    Returns:
        Win rates in [0, 1], shape (n_prompts,).

    Raises:
        ValueError: the shape or the threshold is another, or a logit is not finite.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != N_SCORES:
        raise ValueError(f"logits have shape {logits.shape}, wanted (n_prompts, {N_SCORES}), lowest score first")
    if not 1 <= score_threshold <= N_SCORES:
        raise ValueError(f"score_threshold is {score_threshold}, wanted 1 to {N_SCORES}")
    return np.asarray(np.clip(softmax(logits)[:, : score_threshold - 1].sum(axis=1), 0.0, 1.0))
