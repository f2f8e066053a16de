"""The highest recent costs of each model."""

__all__ = ["LargestCosts"]

_KEPT = 0.999  # of the largest bill, with each that follows: it is forgotten over a few thousand
_ENOUGH = 8


class LargestCosts:
    """Costs of the most expensive recent answers of each model."""

    def __init__(self) -> None:
        self._usd: dict[str, float] = {}
        self._n: dict[str, int] = {}

    def learn(self, model: str, usd: float) -> None:
        """One more answer."""
        self._usd[model] = max(usd, _KEPT * self._usd.get(model, 0.0))
        self._n[model] = self._n.get(model, 0) + 1

    def largest_usd(self, model: str) -> float | None:
        """Dollars of the largest recent bill; None until there are enough bills."""
        return self._usd[model] if self._n.get(model, 0) >= _ENOUGH else None
