"""From a language model's output logits to a win rate."""

import numpy as np

from pointsman.core.activations import softmax
from pointsman.core.arrays import AnyFloatArray, FloatArray

__all__ = ["N_SCORES", "score_token_win_rates", "three_class_win_rates"]

N_SCORES = 5


def three_class_win_rates(logits: AnyFloatArray, *, tie_share: float = 0.0) -> FloatArray:
    """Strong model's win rate from logits over (strong wins, tie, weak wins).

    win_rate = p_strong + tie_share p_tie. With tie_share 0 it is 1 - (p_tie + p_weak), the reference (Ong et al. 2024,
    BERT classifier); with 0.5, a tie being half a win each, it orders prompts by p_strong - p_weak, the expected gain.

    Args:
        logits: shape (n_prompts, 3), in nats.
        tie_share: share of a tie that counts as a win of strong, in [0, 1].

    Returns:
        Win rates in [0, 1], shape (n_prompts,).

    Raises:
        ValueError: the shape is another, a logit is not finite, or `tie_share` leaves [0, 1].
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != 3:
        raise ValueError(f"logits have shape {logits.shape}, wanted (n_prompts, 3): strong wins, tie, weak wins")
    if not 0.0 <= tie_share <= 1.0:
        raise ValueError(f"tie_share is {tie_share}, wanted a number in [0, 1]")
    p = softmax(logits)
    return np.clip(p[:, 0] + tie_share * p[:, 1], 0.0, 1.0)


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
