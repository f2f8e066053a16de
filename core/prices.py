"""What tokens cost."""

import math
from dataclasses import dataclass, fields

__all__ = ["Price"]


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a model in dollars per million tokens; zero is a price, as of a model that one runs oneself.

    cost = (i - c - w) input + c cached + w written + o output, per million, + per_request

    with i input tokens, of which c were read from the upstream's cache and w written to it, and o output tokens. Tokens
    that are written for an hour, and those of sound, have prices of their own in the place of theirs.

    Attributes:
        input_usd, output_usd: per million tokens of prompts and of answers.
        cached_input_usd: per million input tokens read from the upstream's cache; `input_usd` if None.
        cache_write_usd: per million input tokens written to it; `input_usd` if None.
        cache_write_hour_usd: per million of those that it keeps for an hour; `cache_write_usd` if None.
        audio_input_usd, audio_output_usd: per million tokens of sound; `input_usd` and `output_usd` if None.
        per_request_usd: for each answer, however long.

    Raises:
        ValueError: a price is negative or not finite.
    """

    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    cache_write_usd: float | None = None
    per_request_usd: float = 0.0
    cache_write_hour_usd: float | None = None
    audio_input_usd: float | None = None
    audio_output_usd: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} is {value}, wanted non-negative dollars")

    def cost_usd(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_write_hour_tokens: int = 0,
        audio_input_tokens: int = 0,
        audio_output_tokens: int = 0,
    ) -> float:
        """Dollars for one answer.

        Args:
            cached_tokens, cache_write_tokens, audio_input_tokens: those of `input_tokens`; together at most all count.
            cache_write_hour_tokens: those of `cache_write_tokens`.
            audio_output_tokens: those of `output_tokens`.
        """
        if not (cached_tokens or cache_write_tokens or audio_input_tokens or audio_output_tokens):  # as of most answers
            return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6 + self.per_request_usd
        cached = min(cached_tokens, input_tokens)
        written = min(cache_write_tokens, input_tokens - cached)
        hour = min(cache_write_hour_tokens, written)
        heard = min(audio_input_tokens, input_tokens - cached - written)
        spoken = min(audio_output_tokens, output_tokens)
        written_usd = _or(self.cache_write_usd, self.input_usd)
        millionths = (
            (input_tokens - cached - written - heard) * self.input_usd
            + cached * _or(self.cached_input_usd, self.input_usd)
            + (written - hour) * written_usd
            + hour * _or(self.cache_write_hour_usd, written_usd)
            + heard * _or(self.audio_input_usd, self.input_usd)
            + (output_tokens - spoken) * self.output_usd
            + spoken * _or(self.audio_output_usd, self.output_usd)
        )
        return millionths / 1e6 + self.per_request_usd


def _or(usd: float | None, default: float) -> float:
    return default if usd is None else usd
