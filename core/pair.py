"""The two models of a deployment."""

from dataclasses import dataclass

__all__ = ["ModelPair"]


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Names of the strong and the weak model.

    Raises:
        ValueError: a name is empty, or both are the same.
    """

    strong: str
    weak: str

    def __post_init__(self) -> None:
        if not self.strong or not self.weak:
            raise ValueError(f"strong is {self.strong!r}, weak is {self.weak!r}: both need a name")
        if self.strong == self.weak:
            raise ValueError(f"strong and weak are both {self.strong!r}: routing needs two different models")
