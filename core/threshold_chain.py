"""A pre-fixed chain of thresholds, from safe to cheap: the steps that a certificate opens one after the other."""

import math
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray

__all__ = ["Chain", "make_chain"]

_STEPS = 50


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Steps from safe to cheap.

    Attributes:
        thresholds: rising, shape (n_steps,). Cell c of a prompt is the number of thresholds that its score reaches:
            step k sends cells 0 .. k to the weak model.
        shares: of earlier prompts that each step would have sent to the weak model, rising, shape (n_steps,).

    Raises:
        ValueError: there is no step, thresholds do not rise, or shapes differ.
    """

    thresholds: FloatArray
    shares: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", np.asarray(self.thresholds, dtype=np.float64))
        object.__setattr__(self, "shares", np.asarray(self.shares, dtype=np.float64))
        rising = self.thresholds.ndim == 1 and self.thresholds.size and (np.diff(self.thresholds) > 0).all()
        if not rising or self.shares.shape != self.thresholds.shape:
            raise ValueError(
                f"thresholds are {self.thresholds}, shares {self.shares}: wanted as many, at least one, each threshold "
                "above the one before"
            )

    def __len__(self) -> int:
        return len(self.thresholds)

    def cells(self, scores: FloatArray) -> IntArray:
        """Cell of each score, 0 .. n_steps, same shape."""
        return np.asarray(np.searchsorted(self.thresholds, scores, side="right"))


def make_chain(scores: FloatArray, *, highest: float = math.inf, firsts: FloatArray | None = None) -> Chain:
    """Up to 50 steps with about equal shares of the traffic between them; the last sends all of it to the weak model.

    Args:
        scores: of earlier prompts, whose comparisons the certificate will not see; shape (n_prompts,), at least one. Of
            many candidates, where the rungs of these prompts begin, one after the other.
        highest: no threshold is above it.
        firsts: where each prompt's first rung begins, at which it leaves the reference; `scores` if None.

    Raises:
        ValueError: there is no score, or one is not finite.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"scores have shape {values.shape}, wanted (n_prompts,), finite, at least one")
    quantiles = np.quantile(values, np.arange(1, _STEPS + 1) / _STEPS, method="lower")
    thresholds = np.unique(np.minimum(np.nextafter(quantiles, np.inf), highest))
    leaving = values if firsts is None else np.sort(firsts)
    return Chain(thresholds, np.searchsorted(leaving, thresholds) / leaving.size)
