"""The autopilot in the configuration."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pointsman.serve.config.base import Name, Part
from pointsman.serve.config.cascade import CheckerConfig
from pointsman.serve.config.shadow import NO_JUDGE, ShadowConfig

__all__ = ["AutopilotConfig"]

_Inner = Annotated[float, Field(gt=0.0, lt=1.0)]


class AutopilotConfig(Part):
    """Starts with everything on the strong model, and moves as much to the weak one as is certified so far.

    Attributes:
        max_loss: mean loss of quality against always asking the strong model, as the judge sees it.
        confidence: that the bound holds at every moment, for as long as it runs.
        judge: name of the model that judges, neither of the two; "none" if a scorer or people do instead.
        scorer: a service or function of your own that scores each of the two answers from 0 to 1: the loss is the
            strong one's score less the weak one's.
        compare: share of the requests that the other model answers too and a judge compares.
        max_usd_per_day: daily budget of comparisons in the policy's time zone, for all processes together.
        max_failures: share of the last 40 comparisons that may fail before comparing pauses automatically.
        max_tokens: limit of the other model's answer, unless the request sets one.
        limit_parameter: the upstreams' name of that limit.
        judge_max_tokens: limit of a verdict with its reasons.
        concurrency: comparisons running at once, per process.
        queue: most answers waiting to be compared, per process; beyond that none is added.
        train: whether better scores are learned from the comparisons, each certified again before it serves.
        train_at: numbers of comparisons at which one is trained; 300, 900, 2700 and 8100 if empty.
        train_seconds, train_memory_mb: bounds of the process that trains.
        label_share: share of the comparisons that people are asked about (`/v1/autopilot/labels`), to correct the
            judge; nobody is asked if 0.
    """

    max_loss: _Inner
    confidence: _Inner = 0.95
    judge: Name
    scorer: CheckerConfig | None = None
    compare: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    max_usd_per_day: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 10.0
    max_failures: _Inner = 0.5
    max_tokens: Annotated[int, Field(gt=0)] = 2048
    limit_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    judge_max_tokens: Annotated[int, Field(gt=0)] = 512
    concurrency: Annotated[int, Field(gt=0, le=64)] = 2
    queue: Annotated[int, Field(gt=0)] = 100
    train: bool = True
    train_at: Annotated[tuple[Annotated[int, Field(ge=50)], ...], Field(strict=False)] = ()
    train_seconds: Annotated[int, Field(gt=0)] = 300
    train_memory_mb: Annotated[int, Field(ge=256)] = 2048
    label_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.judge != NO_JUDGE and self.scorer is not None:
            raise ValueError(f"judge is {self.judge!r} and a scorer is given, wanted judge: none with a scorer")
        if self.judge == NO_JUDGE and self.scorer is None and self.label_share < 1.0:
            raise ValueError(
                f"judge is none and label_share {self.label_share:g}: nothing says which answer is better; wanted a "
                "scorer, label_share: 1 (people compare every pair that is drawn), or the name of a model"
            )
        return self

    @property
    def source(self) -> str:
        """Who says which answer is better: a model's name, "scorer" or "people"."""
        return self.judge if self.judge != NO_JUDGE else "people" if self.scorer is None else "scorer"

    def comparisons(self) -> ShadowConfig:
        """Settings of the comparisons; the autopilot itself selects what to compare."""
        shared = (
            "judge",
            "max_usd_per_day",
            "max_tokens",
            "limit_parameter",
            "judge_max_tokens",
            "concurrency",
            "queue",
        )
        return ShadowConfig(share=1.0, strong_share=1.0, **{name: getattr(self, name) for name in shared})
