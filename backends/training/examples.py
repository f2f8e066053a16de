"""Battles with the embeddings of their prompts: what routers learn from."""

from dataclasses import dataclass

import numpy as np

from pointsman.backends.data.battle_sets import BattleSet
from pointsman.core.activations import sigmoid
from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.battles import win_table
from pointsman.core.errors import DataError
from pointsman.core.ratings import fit_ratings

__all__ = ["Baseline", "Examples", "rating_baseline", "score_logits", "split"]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A battle set and one embedding per prompt of it.

    Attributes:
        battle_set: battles and their prompts.
        embeddings: float32, shape (n_prompts, dim), row i belonging to `battle_set.prompts[i]`.

    Raises:
        DataError: the rows do not match the prompts, a value is NaN or infinite, there is no battle, or fewer than
            two models.
    """

    battle_set: BattleSet
    embeddings: Float32Array

    def __post_init__(self) -> None:
        embeddings = np.ascontiguousarray(self.embeddings, dtype=np.float32)
        object.__setattr__(self, "embeddings", embeddings)
        n_prompts = len(self.battle_set.prompts)
        if embeddings.ndim != 2 or len(embeddings) != n_prompts:
            raise DataError(
                f"embeddings have shape {embeddings.shape}, wanted ({n_prompts}, dim): one row per distinct prompt; "
                "embed the same prompts in the same order"
            )
        bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
        if bad.size:
            raise DataError(
                f"embedding in row {bad[0]} contains NaN or infinity ({bad.size} such rows), wanted finite values; "
                f"its prompt is {self.battle_set.prompts[bad[0]]!r:.80}"
            )
        b = self.battle_set.battles
        if not len(b):
            raise DataError("no battles to learn from\n" + "\n".join(map(str, self.battle_set.reports)))
        if np.union1d(b.model_a, b.model_b).size < 2:
            raise DataError(f"all battles are of the one model {b.models[b.model_a[0]]!r}, wanted at least two models")

    def __len__(self) -> int:
        return len(self.battle_set)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.embeddings.shape[1])

    def take(self, rows: np.ndarray) -> "Examples":
        """The battles of some rows, or where a boolean mask is true."""
        return Examples(self.battle_set.take(rows), self.embeddings)


def split(examples: Examples, *, validation_fraction: float, seed: int = 0) -> tuple[Examples, Examples]:
    """Training and validation examples that share no prompt.

    Args:
        validation_fraction: share of the prompts kept for validation, in (0, 1).

    Raises:
        ValueError: the fraction leaves (0, 1).
        DataError: a side would be empty.
    """
    if not 0.0 < validation_fraction < 1.0:
        raise ValueError(f"validation_fraction is {validation_fraction}, wanted a number in (0, 1)")
    used = np.unique(examples.battle_set.prompt)
    n_held = max(1, round(validation_fraction * used.size))
    held = np.zeros(len(examples.battle_set.prompts), dtype=bool)
    held[np.random.default_rng(seed).permutation(used)[:n_held]] = True
    mask = held[examples.battle_set.prompt]
    if mask.all():
        raise DataError(f"{used.size} prompts are too few to keep some for validation: give more, or no validation")
    return examples.take(~mask), examples.take(mask)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Loss (nats per battle) and accuracy of predictions; accuracy is None where no battle has a winner."""

    loss: float
    accuracy: float | None


def rating_baseline(train: BattleSet, validation: BattleSet) -> Baseline:
    """Always the better-rated model: Bradley-Terry ratings of the training battles applied to the validation battles.

    Accuracy counts battles that have a winner; a pair of equal ratings counts half.
    """
    ratings = fit_ratings(win_table(train.battles)).ratings
    b = validation.battles
    return score_logits(ratings[b.model_a] - ratings[b.model_b], validation)


def score_logits(logits: FloatArray, battle_set: BattleSet) -> Baseline:
    """Weighted mean loss and accuracy of logits that model_a wins, shape (n_battles,)."""
    outcome, weight = battle_set.battles.outcome, battle_set.battles.weight
    p = np.clip(sigmoid(logits), 1e-12, 1.0 - 1e-12)
    loss = -(outcome * np.log(p) + (1.0 - outcome) * np.log(1.0 - p))
    won = outcome != 0.5
    right = np.where(logits == 0, 0.5, (logits > 0) == (outcome > 0.5))
    total, decided = weight.sum(), weight[won].sum()
    accuracy = float(weight[won] @ right[won] / decided) if decided else None
    return Baseline(float(weight @ loss / total), accuracy)
