"""Models in the configuration: URLs, keys, timeouts and retries."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pointsman.serve.config.base import KeyReference, Name, Part, Seconds
from pointsman.serve.config.prices import LiteLLMPrice, PriceConfig

__all__ = ["BreakerConfig", "ModelConfig", "RetryConfig", "TimeoutConfig"]

_OURS = ("host", "connection", "content-length", "content-type", "transfer-encoding", "accept-encoding", "expect")


_RESERVED = ("model", "messages", "input", "stream", "stream_options")


def _check_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    if reserved := [name for name in parameters if name in _RESERVED]:
        raise ValueError(f"parameters {', '.join(reserved)} are the request's own, wanted others")
    return parameters


def _check_header_name(name: str) -> str:
    if name.lower() in _OURS:
        raise ValueError(f"header {name!r} is set by the server itself, wanted another")
    return name


UpstreamUrl = Annotated[
    str,
    Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?(\?[^\s#]*)?$", description="http(s) URL up to and with /v1"),
]
HeaderName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", description="name of a header"),
    AfterValidator(_check_header_name),
]
HeaderValue = Annotated[
    str, Field(pattern=r"^[ -~]*$", description="value of a header, or env:NAME of the variable that holds it")
]


Capability = Literal["tools", "images", "audio", "video", "files"]


class TimeoutConfig(Part):
    """How long to wait for an upstream, in seconds.

    Attributes:
        connect_s: for a connection.
        first_byte_s: for the first byte of an answer.
        between_chunks_s: between two chunks of an answer.
        total_s: for the whole answer.
    """

    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 120.0
    between_chunks_s: Seconds = 60.0
    total_s: Seconds = 900.0


class RetryConfig(Part):
    """Retries of an upstream, before the client has received any part of an answer.

    Attributes:
        attempts: maximum number of retries; 0 for none.
        base_s: longest pause before the first retry; it doubles with each retry.
        max_s: longest pause. Not retried if the upstream asks for a longer one.
    """

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    base_s: Seconds = 0.5
    max_s: Seconds = 8.0


class BreakerConfig(Part):
    """Circuit breaker: opens after `failures` in a row, for `open_s` seconds."""

    failures: Annotated[int, Field(ge=1)] = 5
    open_s: Seconds = 15.0


class ModelConfig(Part):
    """One model and its upstream.

    Attributes:
        model: name of the model at the upstream; without `base_url` a model string such as groq/llama-3.1-8b-instant.
            The configured name if None.
        base_url: URL of the upstream up to and including /v1, with the query that every request needs, such as
            ?api-version=...; from the model string if None.
        api_key: env:NAME; from the model string's provider if None and no `base_url` is given.
        provider: openai or anthropic (their protocols, passed through) or litellm; from the model string if None.
        headers: sent with every request, such as {api-key: "env:AZURE_OPENAI_API_KEY"}.
        capabilities: what it supports beside text, of tools, images, audio, video and files; everything if None.
        timeouts: timeouts of its upstream.
        retry: how failed calls are retried.
        breaker: when its circuit opens.
        price: in dollars; "litellm" looks the model up in LiteLLM's table, "litellm:KEY" uses another entry of it. If
            None, a model without a `base_url` is looked up there if LiteLLM is installed; else its price is unknown.
        include_usage: whether to request the usage of streams where the client does not: auto (unless the upstream
            rejects it) or never.
        parameters: added to every request for an answer, such as {reasoning_effort: high}; values that the client sets
            are kept. Names with different parameters make one upstream model several candidates.
        override: whether `parameters` replace values that the client sets.
        context_tokens: context window, for prompt, history and answer; a longer routed request goes to another
            candidate. Not checked if None.
    """

    model: Name | None = None
    base_url: UpstreamUrl | None = None
    api_key: KeyReference | None = None
    provider: Literal["openai", "anthropic", "litellm"] | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    capabilities: Annotated[tuple[Capability, ...], Field(strict=False)] | None = None
    timeouts: TimeoutConfig = TimeoutConfig.defaults()
    retry: RetryConfig = RetryConfig.defaults()
    breaker: BreakerConfig = BreakerConfig.defaults()
    price: PriceConfig | LiteLLMPrice | None = None
    include_usage: Literal["auto", "never"] = "auto"
    parameters: Annotated[dict[Name, Any], AfterValidator(_check_parameters)] = Field(default_factory=dict)
    override: bool = False
    context_tokens: Annotated[int, Field(ge=1)] | None = None
