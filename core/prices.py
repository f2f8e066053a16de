"""What tokens cost."""

import math
from dataclasses import dataclass, fields

__all__ = ["Price"]


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a model in dollars per million tokens; zero is a price, as of a model that one runs oneself.

    cost = (i - c - w) input + c cached + w written + o output, per million, + per_request

    with i input tokens, of which c were read from the upstream's cache and w written to it, and o output tokens.

    Attributes:
        input_usd, output_usd: per million tokens of prompts and of answers.
        cached_input_usd: per million input tokens read from the upstream's cache; `input_usd` if None.
        cache_write_usd: per million input tokens written to it; `input_usd` if None.
        per_request_usd: for each answer, however long.

    Raises:
        ValueError: a price is negative or not finite.
    """

    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    cache_write_usd: float | None = None
    per_request_usd: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} is {value}, wanted non-negative dollars")

    def cost_usd(
        self, input_tokens: int, output_tokens: int, *, cached_tokens: int = 0, cache_write_tokens: int = 0
    ) -> float:
        """Dollars for one answer.

        Args:
            cached_tokens, cache_write_tokens: those of `input_tokens`; together at most all of them count.
        """
        cached = min(cached_tokens, input_tokens)
        written = min(cache_write_tokens, input_tokens - cached)
        cached_usd = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        written_usd = self.input_usd if self.cache_write_usd is None else self.cache_write_usd
        millionths = (input_tokens - cached - written) * self.input_usd + cached * cached_usd + written * written_usd
        return (millionths + output_tokens * self.output_usd) / 1e6 + self.per_request_usd
