"""Conversations in the configuration."""

from typing import Annotated

from pydantic import Field

from pointsman.serve.config.base import Part, Seconds, Share

__all__ = ["SessionsConfig"]


class SessionsConfig(Part):
    """Sticky conversations: upgraded to the strong model only where the win rate outweighs the cost of switching.

    Attributes:
        margin: win rate above the threshold that an upgrade needs, in addition to the cost of the lost prompt cache;
            if None, 0.05 where the models have no prices, else 0.
        ttl_s: how long an idle conversation is remembered.
        max_sessions: most conversations remembered, per process.
        output_tokens: expected length of an answer, for its price.
    """

    margin: Share | None = None
    ttl_s: Seconds = 3600.0
    max_sessions: Annotated[int, Field(ge=1)] = 100_000
    output_tokens: Annotated[float, Field(gt=0.0)] = 300.0
