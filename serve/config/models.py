"""The models in the configuration: where they are asked, and with how much patience."""

from typing import Annotated, Literal

from pydantic import Field

from pointsman.serve.config.base import KeyReference, Name, Part, Seconds, Url

__all__ = ["BreakerConfig", "ModelConfig", "RetryConfig", "TimeoutConfig"]


class TimeoutConfig(Part):
    """How long to wait for an upstream, in seconds.

    Attributes:
        connect_s: for a connection.
        first_byte_s: for the beginning of an answer.
        between_chunks_s: from one piece of an answer to the next.
        total_s: for the whole answer.
    """

    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 120.0
    between_chunks_s: Seconds = 60.0
    total_s: Seconds = 900.0


class RetryConfig(Part):
    """When an upstream is asked again before the client has seen anything of an answer.

    Attributes:
        attempts: how often, after the first time; 0 for never.
        base_s: longest pause before the second try; it doubles from try to try.
        max_s: longest pause of all. An upstream that asks for a longer one is not asked again.
    """

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    base_s: Seconds = 0.5
    max_s: Seconds = 8.0


class BreakerConfig(Part):
    """When an upstream is left alone: after `failures` in a row, for `open_s` seconds."""

    failures: Annotated[int, Field(ge=1)] = 5
    open_s: Seconds = 15.0


class ModelConfig(Part):
    """One model and where it is asked.

    Attributes:
        model: what the upstream calls it; without `base_url` a model string such as groq/llama-3.1-8b-instant.
            The configured name if None.
        base_url: an OpenAI-protocol upstream, up to and with /v1; from the model string if None.
        api_key: env:NAME; from the model string's provider if None and no `base_url` is given.
        provider: openai (its protocol, passed through) or litellm; from the model string if None.
        timeouts: how long to wait for its upstream.
        retry: how often to ask it again.
        breaker: when to leave it alone.
    """

    model: Name | None = None
    base_url: Url | None = None
    api_key: KeyReference | None = None
    provider: Literal["openai", "litellm"] | None = None
    timeouts: TimeoutConfig = TimeoutConfig()
    retry: RetryConfig = RetryConfig()
    breaker: BreakerConfig = BreakerConfig()
