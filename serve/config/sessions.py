"""Conversations in the configuration."""

from typing import Annotated

from pydantic import Field

from pointsman.serve.config.base import Part, Seconds, Share

__all__ = ["SessionsConfig"]


class SessionsConfig(Part):
    """A conversation stays with its model unless the win rate argues for the strong one by more than the change costs.

    Attributes:
        margin: win rate that an upgrade needs above the threshold, beside what the lost prompt cache costs; 0.05 where
            the models have no prices, else 0, if None.
        ttl_s: how long a silent conversation is remembered.
        max_sessions: how many are remembered, in each process.
        output_tokens: expected length of an answer, for its price.
    """

    margin: Share | None = None
    ttl_s: Seconds = 3600.0
    max_sessions: Annotated[int, Field(ge=1)] = 100_000
    output_tokens: Annotated[float, Field(gt=0.0)] = 300.0
