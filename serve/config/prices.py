"""Prices in the configuration."""

from typing import Annotated, TypeAlias

from pydantic import Field

from pointsman.core.prices import Price
from pointsman.serve.config.base import Part

__all__ = ["LiteLLMPrice", "PriceConfig"]

Usd = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
LiteLLMPrice: TypeAlias = Annotated[str, Field(pattern=r"^litellm(:\S+)?$", description="litellm or litellm:KEY")]


class PriceConfig(Part):
    """Price of a model in dollars; 0 is a price, too.

    Attributes:
        input_usd_per_million: per million tokens of prompts.
        output_usd_per_million: per million tokens of answers.
        cached_input_usd_per_million: per million tokens of prompts that the upstream had in its cache; as
            `input_usd_per_million` if None.
        cache_write_usd_per_million: per million tokens of prompts that it put there; likewise.
        cache_write_hour_usd_per_million: of those that it keeps there for an hour; as `cache_write_usd_per_million` if
            None.
        audio_input_usd_per_million, audio_output_usd_per_million: of tokens of sound; as for text if None.
        per_request_usd: for each answer, however long.
    """

    input_usd_per_million: Usd
    output_usd_per_million: Usd
    cached_input_usd_per_million: Usd | None = None
    cache_write_usd_per_million: Usd | None = None
    cache_write_hour_usd_per_million: Usd | None = None
    audio_input_usd_per_million: Usd | None = None
    audio_output_usd_per_million: Usd | None = None
    per_request_usd: Usd = 0.0

    def price(self) -> Price:
        """The price for calculations."""
        return Price(
            self.input_usd_per_million,
            self.output_usd_per_million,
            self.cached_input_usd_per_million,
            self.cache_write_usd_per_million,
            self.per_request_usd,
            self.cache_write_hour_usd_per_million,
            self.audio_input_usd_per_million,
            self.audio_output_usd_per_million,
        )
