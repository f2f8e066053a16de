"""How a matrix-factorisation router is trained."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["FAST", "REFERENCE", "MFRecipe"]


@dataclass(frozen=True, slots=True)
class MFRecipe:
    """Settings of one training run. The defaults are those of the reference (Ong et al. 2024 and its code).

    Attributes:
        latent_dim: length of a model's vector.
        alpha: standard deviation of the noise on every coordinate of a prompt embedding.
        noise: "sampled" draws it for every battle and step; "expected" takes the loss's expectation over it, by
            quadrature, which has the same minimum and a gradient without that noise.
        lr: peak step size of Adam.
        schedule: "constant", or "cosine" down to 0 after a warm-up over the first twentieth of the steps.
        weight_decay: L2 penalty, added to the gradient.
        batch_size: battles per step.
        epochs: passes over the battles.
        patience: stop after this many epochs without a lower validation loss; None never stops early.
        bias: give the projection a bias, for embeddings without a constant component.
        ties: "drop" leaves ties out, "half" counts them as half a win for each.
        seed: of initial weights, order and noise.

    Raises:
        ValueError: a value leaves its range.
    """

    latent_dim: int = 128
    alpha: float = 0.1
    noise: Literal["sampled", "expected"] = "sampled"
    lr: float = 3e-4
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 1e-5
    batch_size: int = 64
    epochs: int = 100
    patience: int | None = None
    bias: bool = False
    ties: Literal["drop", "half"] = "drop"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("latent_dim", 1), ("batch_size", 1), ("epochs", 1), ("alpha", 0), ("weight_decay", 0)):
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted at least {low}")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}, wanted a positive number")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}, wanted at least 1, or None")
        for name, known in (
            ("noise", ("sampled", "expected")),
            ("schedule", ("constant", "cosine")),
            ("ties", ("drop", "half")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, wanted one of {', '.join(known)}")


REFERENCE = MFRecipe()
FAST = MFRecipe(
    alpha=0.08, noise="expected", lr=2e-2, schedule="cosine", batch_size=1024, epochs=12, patience=4, bias=True
)
