"""Dollars spent on judging, and a ceiling that no call may exceed."""

from collections.abc import Mapping

from pointsman.core.prices import Price
from pointsman.serve.judging.journal import Reply

__all__ = ["Budget", "BudgetReachedError", "estimate_tokens"]

_BYTES_PER_TOKEN = 3


class BudgetReachedError(Exception):
    """The next call could exceed the ceiling."""


def estimate_tokens(text: str) -> int:
    """Estimated tokens of a text: one per three bytes of UTF-8, more than most tokenizers need."""
    return len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN + 1


class Budget:
    """Reserves the most that each running call can cost, so that the ceiling holds with concurrent calls.

    Args:
        prices: by model; a model without a price costs nothing.
        max_cost_usd: ceiling on everything spent, earlier runs of the same journal included; None for none.
        max_tokens: most tokens that one reply can have.
    """

    def __init__(self, prices: Mapping[str, Price], *, max_cost_usd: float | None, max_tokens: int) -> None:
        self.spent_usd = 0.0
        self._prices = prices
        self._ceiling = max_cost_usd
        self._max_tokens = max_tokens
        self._held_usd = 0.0

    def most_usd(self, model: str, prompt_tokens: int) -> float:
        """The most that one call can cost."""
        return self._cost(model, prompt_tokens, self._max_tokens)

    def hold(self, model: str, prompt: str) -> float:
        """Reserves the most that a call can cost, and returns it.

        Raises:
            BudgetReachedError: the ceiling could be exceeded.
        """
        most = self.most_usd(model, estimate_tokens(prompt))
        if self._ceiling is not None and self.spent_usd + self._held_usd + most > self._ceiling:
            raise BudgetReachedError
        self._held_usd += most
        return most

    def release(self, held_usd: float) -> None:
        """Releases a reservation."""
        self._held_usd -= held_usd

    def spend(self, model: str, reply: Reply) -> None:
        """Counts the cost of a reply."""
        self.spent_usd += self._cost(model, reply.input_tokens, reply.output_tokens)

    def _cost(self, model: str, input_tokens: int, output_tokens: int) -> float:
        price = self._prices.get(model)
        return price.cost_usd(input_tokens, output_tokens) if price else 0.0
