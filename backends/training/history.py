"""The course of a training run, epoch by epoch, and its identity."""

import hashlib
from dataclasses import dataclass

import numpy as np

from pointsman.backends.training.examples import Examples
from pointsman.backends.training.mf_recipe import MFRecipe

__all__ = ["Epoch", "best_epoch", "fingerprint"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """Figures of one epoch.

    Attributes:
        number: counted from 1.
        train_loss: mean over the epoch's steps, noise included, in nats per battle.
        validation_loss, validation_accuracy: after the epoch, without noise; None without validation examples.
        seconds: wall time of the epoch with its validation; the first one includes compilation.
    """

    number: int
    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float

    @property
    def criterion(self) -> float:
        """The loss that a run minimises: the validation loss, or else the training loss."""
        return self.train_loss if self.validation_loss is None else self.validation_loss


def best_epoch(history: tuple[Epoch, ...]) -> Epoch:
    """The first epoch with the lowest validation loss; the last epoch without validation.

    Raises:
        ValueError: no epoch has run.
    """
    if not history:
        raise ValueError("no epoch has run yet")
    return history[-1] if history[-1].validation_loss is None else min(history, key=lambda epoch: epoch.criterion)


def fingerprint(recipe: MFRecipe, train: Examples, validation: Examples | None) -> str:
    """SHA-256 over everything that a run's result depends on, so that one run's state is not taken for another's."""
    digest = hashlib.sha256(repr(recipe).encode())
    for part in (train, validation):
        if part is None:
            continue
        battles = part.battle_set.battles
        digest.update(repr(battles.models).encode())
        columns = (battles.model_a, battles.model_b, battles.outcome, battles.weight)
        for array in (part.embeddings, part.battle_set.prompt, *columns):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
