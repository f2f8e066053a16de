"""A cascade of any number of models, controlled by one number: the dollars that a unit of quality may cost.

Models 0..K-1 are asked in order of cost. The verifier of model i < K-1 predicts the benefit b_i of the last model's
answer over its own. With l dollars for a unit of quality, and c_i the mean dollars of model i, the next model is asked
on while

    b_i >= c_{i+1} / l,    that is    w_i = (1 + b_i) / 2 >= t_i = (1 + c_{i+1} / l) / 2

The prompt is looked at first, as in `core.cascade`, by each model's window and threshold: while it is surely hard for a
model the next one is asked first; where it is surely easy for the one asked first, its answer is not read. A pair is
`core.cascade`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.cascade import Window

__all__ = ["Played", "chain_thresholds", "play_chain"]


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """The results of a chain on some prompts.

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
    prompt: Sequence[FloatArray],
    read: Sequence[FloatArray],
    thresholds: Sequence[float],
    zones: Sequence[Window],
    *,
    score: FloatArray,
    usd: FloatArray,
) -> Played:
    """Plays stored answers through a chain.

    Args:
        prompt: last model's win rate over each other model by the prompt alone, shape (n_prompts,) each.
        read: last model's win rate given each other model's answer, shape (n_prompts,) each.
        thresholds, zones: of each model but the last.
        score, usd: of each prompt with each model in order, shape (n_prompts, n_models).

    Raises:
        ValueError: thresholds, win rates and models do not fit together.
    """
    n_models = score.shape[1]
    if not len(prompt) == len(read) == len(thresholds) == len(zones) == n_models - 1 > 0:
        given = f"{n_models} models, {len(read)} win rates, {len(thresholds)} thresholds and {len(zones)} windows"
        raise ValueError(f"{given}: wanted one of each for every model but the last")
    n = len(score)
    answered, bill = np.full(n, n_models - 1), np.zeros(n)
    waiting, climbing = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)  # to be asked at all; to be asked on
    for place, (p, w, t, zone) in enumerate(zip(prompt, read, thresholds, zones, strict=True)):
        hard = (p - zone.hard >= t) | (t <= 0.0)
        first = waiting & ~hard
        easy = first & (p + zone.easy < t)
        asked = first | climbing
        bill += np.where(asked, usd[:, place], 0.0)
        enough = asked & (easy | (w < t))
        answered = np.where(enough, place, answered)
        waiting, climbing = waiting & hard, asked & ~enough
    bill += np.where(waiting | climbing, usd[:, -1], 0.0)
    return Played(answered, score[np.arange(n), answered], bill)
