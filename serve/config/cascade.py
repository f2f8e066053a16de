"""Cascades in the configuration."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from pointsman.serve.config.base import KeyReference, Name, Part, Seconds, Share
from pointsman.serve.config.routers import PairConfig

__all__ = ["CascadeConfig", "CheckerConfig", "PrefixConfig"]

Check = Literal["empty", "refusal", "length", "json", "tools"]


class PrefixConfig(Part):
    """Streams that are checked by their beginning.

    Attributes:
        prefix: tokens of the cheap answer that are read before the rest is relayed.
    """

    prefix: Annotated[int, Field(ge=1)]


class CheckerConfig(Part):
    """A service or function of your own that checks answers: tests, a linter, a rule.

    Attributes:
        url: is sent {"prompt", "answer", "request"} and answers {"score": 0 to 1} or {"accept": true or false}.
        entry_point: a Python function instead, as package.module:function, that takes the same and returns a score.
        api_key: env:NAME of a key for the URL.
        timeout_s: an answer not scored by then counts as unchecked.
        usd: what a check costs.
    """

    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    entry_point: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    api_key: KeyReference | None = None
    timeout_s: Seconds = 2.0
    usd: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.url is None) == (self.entry_point is None):
            raise ValueError("wanted either url or entry_point")
        return self


class CascadeConfig(Part):
    """Checks of the cheap model's answer before it is returned.

    Attributes:
        verifier: checkpoint directory from `pointsman train verifier`, for the first model before the last one; or
            one per model that is not the last: {small: DIR, middle: DIR}; only the free checks if None.
        models: the models in the order in which they are called; the weak and then the strong one if None.
        pair: the verifier's names of the models, if they differ from those here.
        threshold: an answer is good enough iff its win rate is below this, one number or one per model with a verifier;
            if None, the one that sends as many prompts to the strong model as the router's own threshold.
        max_loss: the policy that `pointsman calibrate --max-loss --verifier` stored for this loss, instead.
        checks: the free checks that are made.
        stream: how to handle streams: the router alone decides (off), or the answer is held until it has been
            read (hold) or its first tokens have (prefix).
        keep_alive_s: interval of keep-alive comments in a held stream.
        max_wait_s: no cascade if both answers are expected to take longer.
        logprobs: request log-probabilities if the verifier reads them; the client does not see them.
        samples: further samples of the cheap answer, whose agreement the verifier reads; each is charged.
        p_true: model that is asked whether the cheap answer is right, which the verifier reads; it is charged.
        checker: a service or function of your own that checks answers.
    """

    verifier: str | dict[Name, str] | None = None
    models: Annotated[list[Name], Field(min_length=2)] | None = None
    pair: PairConfig | None = None
    threshold: Share | dict[Name, Share] | None = None
    max_loss: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    checks: list[Check] = Field(default_factory=lambda: list(get_args(Check)))
    stream: Literal["off", "hold"] | PrefixConfig = "off"
    keep_alive_s: Seconds = 5.0
    max_wait_s: Seconds | None = None
    logprobs: bool = True
    samples: Annotated[int, Field(ge=0, le=8)] = 0
    p_true: Name | None = None
    checker: CheckerConfig | None = None

    @model_validator(mode="after")
    def _check_alternatives(self) -> Self:
        if self.threshold is not None and self.max_loss is not None:
            raise ValueError("threshold and max_loss are both given, wanted one of them")
        if self.verifier is None and (given := [n for n in ("threshold", "max_loss", "pair") if getattr(self, n)]):
            raise ValueError(f"{given[0]} is given without a verifier, wanted verifier: DIR")
        if isinstance(self.threshold, dict):
            read = set(self.verifier) if isinstance(self.verifier, dict) else None
            if read != set(self.threshold):
                named = ", ".join(sorted(read or ())) or "one directory"
                limits = ", ".join(sorted(self.threshold))
                raise ValueError(f"threshold is of {limits} and verifier of {named}: wanted the same models")
        if self.models is not None and len(set(self.models)) < len(self.models):
            raise ValueError(f"models are {self.models}, wanted each once")
        return self
