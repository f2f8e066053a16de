"""The rule that a request matches."""

from dataclasses import dataclass
from typing import Any

__all__ = ["MatchedRule"]


@dataclass(frozen=True, slots=True)
class MatchedRule:
    """The first rule whose conditions a request matches.

    Attributes:
        name: of the rule.
        because: the matching conditions, for explanations.
        models: the candidates that it allows; all if empty.
        threshold: the threshold that it sets, if any.
        skips_cascade: whether no answer is checked.
        note: why it does not choose the model although it could, else "".
    """

    name: str
    because: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    threshold: float | None = None
    skips_cascade: bool = False
    note: str = ""

    @property
    def reason(self) -> str:
        """The reason of a decision that the rule made."""
        return f"rule: {self.name}"

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON-ready types, without actions that it does not have."""
        found = {
            "candidates": list(self.models),
            "threshold": self.threshold,
            "cascade": False if self.skips_cascade else None,
            "note": self.note,
        }
        kept = {name: value for name, value in found.items() if value not in (None, [], "")}
        return {"name": self.name, "because": list(self.because), **kept}
