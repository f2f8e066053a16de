"""What can be learned from a table itself: nearest neighbours trained on other prompts, and on other groups.

The win rate of a prompt is (1 + g) / 2, g the mean gain of strong over weak on its k nearest neighbours by cosine, in
units of the score's range. Trained on random folds it may recognise the prompt's group; trained on all groups but the
prompt's own it cannot.
"""

import numpy as np

from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.evaluation.outcome_pairs import PairOutcomes
from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.similarity import unit_rows

__all__ = ["held_out_win_rates"]

_N_FOLDS = 5
_N_NEIGHBOURS = 50
_MAX_TRAINING = 20_000
_CHUNK = 512


def held_out_win_rates(outcomes: PairOutcomes, *, seed: int = 0, embedder: str = "static") -> dict[str, FloatArray]:
    """Win rates of nearest neighbours on prompts held out, and on groups held out where there are groups.

    Args:
        seed: of the folds, and of the 20,000 prompts to learn from where there are more.
        embedder: name of the embedder.

    Raises:
        DataError: there are too few prompts to hold any out.
    """
    if len(outcomes) < 2 * _N_FOLDS:
        raise DataError(
            f"{outcomes.source} has {counted(len(outcomes), 'prompt')}, wanted at least {2 * _N_FOLDS} to hold some out"
        )
    rng = np.random.default_rng(seed)
    embeddings = unit_rows(np.asarray(resolve_embedder(embedder)(outcomes.prompts), dtype=np.float32))
    low, high = outcomes.scale
    gain = (outcomes.strong - outcomes.weak) / (high - low)
    folds = (rng.permutation(len(outcomes)) % _N_FOLDS).astype(np.int64)
    parts = {"neighbours, other prompts": folds}
    if outcomes.group is not None and np.unique(outcomes.group).size > 1:
        parts["neighbours, other groups"] = np.unique(outcomes.group, return_inverse=True)[1].astype(np.int64)
    training = np.sort(rng.permutation(len(outcomes))[:_MAX_TRAINING])
    return {name: _win_rates(np.asarray(embeddings), gain, part, training) for name, part in parts.items()}


def _win_rates(embeddings: Float32Array, gain: FloatArray, part: IntArray, training: IntArray) -> FloatArray:
    """Each prompt judged by its nearest neighbours among the training prompts of other parts."""
    rates = np.empty(len(gain))
    for first in range(0, len(gain), _CHUNK):
        rows = slice(first, first + _CHUNK)
        cosines = embeddings[rows] @ embeddings[training].T
        cosines[part[rows, None] == part[training][None, :]] = -np.inf
        k = min(_N_NEIGHBOURS, int(np.isfinite(cosines).sum(axis=1).min()))
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        rates[rows] = (1.0 + gain[training][nearest].mean(axis=1)) / 2.0
    return np.clip(rates, 0.0, 1.0)
