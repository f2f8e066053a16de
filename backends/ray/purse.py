"""Dollars that the actors of one job share: each draws before it spends, and gives back what it did not need."""

from typing import Any

__all__ = ["Purse", "SharedPurse"]


class Purse:
    """The rest of a ceiling. Reserved dollars count as spent until they are returned."""

    def __init__(self, left_usd: float) -> None:
        self.left_usd = left_usd

    def draw(self, usd: float) -> float:
        """Takes as much of `usd` as is left."""
        drawn = min(usd, max(self.left_usd, 0.0))
        self.left_usd -= drawn
        return drawn

    def give_back(self, usd: float) -> None:
        """Puts back what was drawn and not spent."""
        self.left_usd += usd


class SharedPurse:
    """A purse in an actor of its own, which work in other actors may hold; must be made while Ray is connected."""

    def __init__(self, ray: Any, left_usd: float) -> None:
        self._actor = ray.remote(num_cpus=0)(Purse).remote(left_usd)

    def draw(self, usd: float) -> float:
        """See `Purse`."""
        import ray

        return float(ray.get(self._actor.draw.remote(usd)))

    def give_back(self, usd: float) -> None:
        """See `Purse`."""
        import ray

        ray.get(self._actor.give_back.remote(usd))
