"""When a conversation changes its model: only upwards, and only for more than the lost prompt cache costs.

A threshold t says what dollars are worth: for the extra d dollars of a strong answer it wants a win rate of t. An
upgrade in the middle of a conversation costs d and, because the strong model has not cached what was said so far,
c more. At the same worth it wants

    win_rate >= t (1 + c / d),   c = prefix (input - cached input price of the strong model)
    d = strong's dollars - weak's dollars for the turn, each with its own prefix cached

A conversation that is with the strong model stays there: its cache is what makes the next turn cheap, and its user has
seen what it can do.
"""

from collections import OrderedDict
from dataclasses import dataclass

from pointsman.core.prices import Price

__all__ = ["Sessions", "Turn", "upgrade_threshold"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Tokens of the next turn of a conversation.

    Attributes:
        prefix_tokens: what was said before, which the conversation's own model has in its cache.
        new_tokens: what is added.
        output_tokens: what the answer is expected to have.
    """

    prefix_tokens: float
    new_tokens: float
    output_tokens: float


def upgrade_threshold(
    threshold: float, turn: Turn, *, strong: Price | None, weak: Price | None, margin: float = 0.0
) -> float:
    """Win rate from which a conversation with the weak model goes on with the strong one.

    Args:
        threshold: the win rate that would do at the conversation's beginning.
        strong, weak: prices; where one is not known `margin` alone is asked for.
        margin: what is added in any case.
    """
    higher = threshold + margin
    if strong is None or weak is None:
        return higher
    extra_usd = _turn_usd(strong, turn) - _turn_usd(weak, turn)
    if extra_usd <= 0.0:
        return threshold
    cached_usd = strong.input_usd if strong.cached_input_usd is None else strong.cached_input_usd
    lost_usd = max(turn.prefix_tokens * (strong.input_usd - cached_usd), 0.0)
    return higher + threshold * lost_usd / extra_usd


def _turn_usd(price: Price, turn: Turn) -> float:
    """Millionths of dollars of a turn whose prefix is cached."""
    cached_usd = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    tokens_usd = turn.prefix_tokens * cached_usd + turn.new_tokens * price.input_usd
    return tokens_usd + turn.output_tokens * price.output_usd + 1e6 * price.per_request_usd


class Sessions:
    """The models that conversations are with: the last `size` of them, each for `ttl_s` after its last turn."""

    def __init__(self, *, size: int, ttl_s: float) -> None:
        """Remembers none.

        Raises:
            ValueError: `size` or `ttl_s` is not positive.
        """
        if size < 1 or not ttl_s > 0.0:
            raise ValueError(f"size is {size} and ttl_s {ttl_s}, wanted positive numbers")
        self._size, self._ttl_s = size, ttl_s
        self._models: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def model(self, session: str, now: float) -> str | None:
        """The model of a conversation; None if unknown or expired. A clock set back does not expire it."""
        found = self._models.get(session)
        return found[0] if found is not None and now - found[1] <= self._ttl_s else None

    def keep(self, session: str, model: str, now: float) -> None:
        """Remembers the model of a conversation, and forgets the one that has been silent for longest."""
        self._models[session] = (model, now)
        self._models.move_to_end(session)
        if len(self._models) > self._size:
            self._models.popitem(last=False)
