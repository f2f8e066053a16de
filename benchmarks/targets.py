"""What a benchmark aims at, as its last line reports it."""

from typing import Any

__all__ = ["at_most"]


def at_most(**targets: tuple[float, float]) -> dict[str, Any]:
    """Each target by its name, with its value and the goal that the value is not to exceed."""
    return {name: {"value": value, "goal": goal, "met": value <= goal} for name, (value, goal) in targets.items()}
