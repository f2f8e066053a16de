"""How rules for the threshold compose into one decision, and which of them decided.

A base rule gives a threshold; budgets can only raise it; then the bounds hold it from both sides, the outermost last.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.core.recent import NEVER_STRONG

__all__ = ["Bounds", "Ruling", "compose", "hard_limit"]


@quick_dataclass(frozen=True, slots=True)
class Ruling:
    """A threshold and the rule that set it.

    Attributes:
        threshold: strong iff win_rate >= threshold; in [0, 1], or just above 1 for "never strong".
        policy: name of the rule, e.g. "fixed", "share", "schedule:nights", "tier:paid", "budget:day", "floor".
    """

    threshold: float
    policy: str

    def at_least(self, other: "Ruling") -> "Ruling":
        """The higher of two rulings; this one where they agree."""
        return other if other.threshold > self.threshold else self

    def at_most(self, other: "Ruling") -> "Ruling":
        """The lower of two rulings; this one where they agree."""
        return other if other.threshold < self.threshold else self


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the threshold that override all other rules.

    Attributes:
        floor, ceiling: lowest and highest threshold, in [0, 1].

    Raises:
        ValueError: one leaves [0, 1], or the floor is above the ceiling.
    """

    floor: float = 0.0
    ceiling: float = NEVER_STRONG

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor <= self.ceiling <= NEVER_STRONG or self.floor > 1.0:
            raise ValueError(f"floor {self.floor} and ceiling {self.ceiling}, wanted 0 <= floor <= ceiling <= 1")

    def hold(self, ruling: Ruling) -> Ruling:
        """The ruling moved within the bounds."""
        if ruling.threshold < self.floor:
            return Ruling(self.floor, "floor")
        return Ruling(self.ceiling, "ceiling") if ruling.threshold > self.ceiling else ruling


def compose(
    base: Ruling,
    *,
    budgets: Iterable[Ruling] = (),
    most: Ruling | None = None,
    least: Ruling | None = None,
    bounds: Bounds | None = None,
) -> Ruling:
    """The ruling of several rules.

    max(base, budgets), then at least the threshold that keeps the strong share below its ceiling (`most`), at most the
    one that keeps it above its floor (`least`), then within `bounds`. It never falls when a budget's threshold rises.

    Args:
        budgets: lowest thresholds that the money lasts for.
        most, least: thresholds at which the share of strong calls meets its ceiling and its floor.
        bounds: of the threshold; none if None.
    """
    ruling = base
    for budget in budgets:
        ruling = ruling.at_least(budget)
    if most is not None:
        ruling = ruling.at_least(most)
    if least is not None:
        ruling = ruling.at_most(least)
    return bounds.hold(ruling) if bounds is not None else ruling


def hard_limit(budget: str) -> Ruling:
    """The ruling of an exhausted hard limit: never strong, regardless of bounds."""
    return Ruling(NEVER_STRONG, f"{budget} exhausted")
