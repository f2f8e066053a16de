"""The configuration: one YAML file (or the command line's flags) as frozen, checked values.

strong: big                       # a name under models, or a model string such as openai/gpt-4o
weak: small
models:
  big: {model: openai/gpt-4o}
  small: {base_url: "http://localhost:8000/v1", model: qwen3-8b, api_key: "env:SMALL_KEY"}
routers:
  mf: {strong_share: 0.3}
  mine: {checkpoint: ./my-checkpoint, threshold: 0.42}
server: {host: 127.0.0.1, port: 6060}
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pointsman.serve.model_field import AUTO, ROUTER_PREFIX

__all__ = [
    "BreakerConfig",
    "Config",
    "ModelConfig",
    "PairConfig",
    "RetryConfig",
    "RouterConfig",
    "ServerConfig",
    "TimeoutConfig",
    "json_schema",
    "name_problems",
]

KeyReference = Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$", description="env:NAME of a variable")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", description="http(s) URL up to and with /v1")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class PairConfig(_Part):
    """Two models as the checkpoint names them."""

    strong: Name
    weak: Name


class RouterConfig(_Part):
    """One router.

    Attributes:
        kind: the bundled router to take where `checkpoint` is not given; the router's name if None.
        checkpoint: checkpoint directory, relative to the working directory.
        threshold: default threshold; if None, the one for `strong_share`.
        strong_share: default share of prompts for the strong model, by the checkpoint's calibration.
        pair: the checkpoint's models whose win rate to predict; the checkpoint's own pair if None.
        embedder: options for the checkpoint's embedder, e.g. base_url and api_key (env:NAME).
    """

    kind: Name | None = None
    checkpoint: str | None = None
    threshold: Share | None = None
    strong_share: Share | None = None
    pair: PairConfig | None = None
    embedder: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_alternatives(self) -> Self:
        if self.threshold is not None and self.strong_share is not None:
            raise ValueError("threshold and strong_share are both given, wanted one of them")
        if self.kind is not None and self.checkpoint is not None:
            raise ValueError("kind and checkpoint are both given, wanted one of them: a checkpoint knows its kind")
        key = self.embedder.get("api_key")
        if key is not None and not str(key).startswith("env:"):
            raise ValueError("embedder.api_key is no env:NAME: keys are read from the environment")
        return self


class TimeoutConfig(_Part):
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


class RetryConfig(_Part):
    """When an upstream is asked again before the client has seen anything of an answer.

    Attributes:
        attempts: how often, after the first time; 0 for never.
        base_s: longest pause before the second try; it doubles from try to try.
        max_s: longest pause of all. An upstream that asks for a longer one is not asked again.
    """

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    base_s: Seconds = 0.5
    max_s: Seconds = 8.0


class BreakerConfig(_Part):
    """When an upstream is left alone: after `failures` in a row, for `open_s` seconds."""

    failures: Annotated[int, Field(ge=1)] = 5
    open_s: Seconds = 15.0


class ModelConfig(_Part):
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


class ServerConfig(_Part):
    """The HTTP server and its limits.

    Attributes:
        max_body_bytes: of a request.
        body_timeout_s: for a request's body to arrive.
        routing_timeout_s: for a decision; the strong model answers where it takes longer.
        drain_timeout_s: for the requests that are being served when the server is told to stop.
        cors_origins: origins whose pages may ask from a browser.
        keys_file: access keys, made by `pointsman keys`; without it everyone who reaches the server may ask.
        log: json lines, text, or auto: text where stderr is a terminal.
        log_requests: one line per request.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 6060
    max_body_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    body_timeout_s: Seconds = 60.0
    routing_timeout_s: Seconds = 2.0
    drain_timeout_s: Seconds = 60.0
    cors_origins: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    keys_file: str | None = None
    log: Literal["auto", "json", "text"] = "auto"
    log_requests: bool = True


class Config(_Part):
    """Everything that a server or controller is made from.

    Attributes:
        strong, weak: the two models between which prompts are routed; the built-in stand-ins if None.
        models: these and others, by the names that requests may give.
        routers: by name, the default one first.
        fallback: who answers a routed request whose model fails: the strong model for the weak one (to_strong), each
            for the other (both), or nobody (none).
        server: the HTTP server.
    """

    strong: Name | None = None
    weak: Name | None = None
    fallback: Literal["to_strong", "both", "none"] = "to_strong"
    models: dict[Name, ModelConfig] = Field(default_factory=dict)
    routers: dict[Name, RouterConfig] = Field(default_factory=lambda: {"mf": RouterConfig()})
    server: ServerConfig = ServerConfig()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if problems := list(name_problems(self.strong, self.weak, self.models)):
            raise ValueError("; ".join(problems))
        if not self.routers:
            raise ValueError("routers is empty, wanted at least one, e.g. routers: {mf: {}}")
        return self


def name_problems(strong: object, weak: object, models: Iterable[object]) -> Iterator[str]:
    """What is wrong with the names of the models, whatever else is."""
    if (strong is None) != (weak is None):
        given, missing = ("strong", "weak") if weak is None else ("weak", "strong")
        yield f"{given} is given and {missing} is not, wanted both (or neither, for the stand-ins)"
    if strong is not None and strong == weak:
        yield f"strong and weak are both {strong!r}, wanted two different models"
    for name in dict.fromkeys([strong, weak, *models]):
        if isinstance(name, str) and (name == AUTO or name.startswith(ROUTER_PREFIX)):
            yield f"models.{name}: {AUTO!r} and names that begin with {ROUTER_PREFIX!r} mean routers"


def json_schema() -> dict[str, Any]:
    """JSON schema of the configuration file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
