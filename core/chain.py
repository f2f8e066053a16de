"""A cascade of any number of models as one knob: what a unit of quality may cost.

Models 0..K-1 are asked in order of cost. The verifier of model i < K-1 predicts the benefit b_i of the last model's
answer over its own. With l dollars for a unit of quality, and c_i the mean dollars of model i, the next model is asked
on while

    b_i >= c_{i+1} / l,    that is    w_i = (1 + b_i) / 2 >= t_i = (1 + c_{i+1} / l) / 2

The prompt is looked at first, as in `core.cascade`, by model 0's window and threshold t_0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.cascade import Window

__all__ = ["Played", "chain_thresholds", "play_chain"]


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What a chain did with some prompts.

    Attributes:
        answered: place in the chain of the model that answered, shape (n_prompts,).
        score: of that answer, shape (n_prompts,).
        usd: of all the models that were asked, shape (n_prompts,).
    """

    answered: IntArray
    score: FloatArray
    usd: FloatArray


def chain_thresholds(usd: Sequence[float], per_usd: float) -> tuple[float, ...]:
    """Thresholds of all models but the last, in [0, 1].

    Args:
        usd: mean dollars of each model, in the order of the chain.
        per_usd: 1 / l, the quality that a dollar must buy; negative asks on even at an expected loss.
    """
    return tuple(float(np.clip((1.0 + per_usd * cost) / 2.0, 0.0, 1.0)) for cost in usd[1:])


def play_chain(
    prompt: FloatArray,
    read: Sequence[FloatArray],
    thresholds: Sequence[float],
    zone: Window,
    *,
    score: FloatArray,
    usd: FloatArray,
) -> Played:
    """Takes stored answers through a chain.

    Args:
        prompt: last model's win rate over the first one by the prompt alone, shape (n_prompts,).
        read: last model's win rate given each other model's answer, shape (n_prompts,) each.
        thresholds: of each model but the last.
        zone: of the first model.
        score, usd: of each prompt with each model in order, shape (n_prompts, n_models).

    Raises:
        ValueError: thresholds, win rates and models do not fit together.
    """
    n_models = score.shape[1]
    if not len(read) == len(thresholds) == n_models - 1 > 0:
        given = f"{n_models} models, {len(read)} win rates and {len(thresholds)} thresholds"
        raise ValueError(f"{given}: wanted one of both for every model but the last")
    p, t = np.asarray(prompt, dtype=np.float64), thresholds[0]
    hard = (p - zone.hard >= t) | (t <= 0.0)
    easy = ~hard & (p + zone.easy < t)
    answered = np.where(hard, n_models - 1, 0)
    bill = np.where(hard, usd[:, -1], usd[:, 0])
    climbing = ~hard & ~easy
    for place, (rates, threshold) in enumerate(zip(read, thresholds, strict=True)):
        climbing = climbing & (np.asarray(rates) >= threshold)
        answered = np.where(climbing, place + 1, answered)
        bill = bill + np.where(climbing, usd[:, place + 1], 0.0)
    return Played(answered, score[np.arange(len(p)), answered], bill)
