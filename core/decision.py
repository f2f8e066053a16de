"""What a router decided for one prompt, and why."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Decision"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One routing decision.

    Attributes:
        model: name of the chosen model.
        win_rate: strong model's win rate in [0, 1]; None where no router was asked (pass-through) or it failed.
        threshold: strong iff win_rate >= threshold; None where none applied.
        router: name of the router that was asked; None for pass-through.
        reason: one word or phrase: "win_rate", "pass-through", "router failed: ...".
        candidates: names of the models that were weighed, strongest first.
        policy: rule that set the threshold, e.g. "request", "fixed", "share", "budget"; None where none applied.
    """

    model: str
    win_rate: float | None
    threshold: float | None
    router: str | None
    reason: str
    candidates: tuple[str, ...]
    policy: str | None = None

    @property
    def why(self) -> str:
        """What the choice rests on, in a phrase: "win rate 0.6858 >= threshold 0.6594 (router mf)"."""
        if self.router is None or self.win_rate is None or self.threshold is None:
            return self.reason
        sign = ">=" if self.win_rate >= self.threshold else "<"
        compared = f"win rate {self.win_rate:.4f} {sign} threshold {self.threshold:.4f} (router {self.router})"
        return compared if self.reason == "win_rate" else f"{compared}, {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON-ready types."""
        return {**asdict(self), "candidates": list(self.candidates)}
