"""Shadow comparisons in the configuration."""

from typing import Annotated, Literal

from pydantic import Field

from pointsman.serve.config.base import Name, Part, Share

__all__ = ["NO_JUDGE", "ShadowConfig"]

NO_JUDGE = "none"  # of comparisons that no model judges


class ShadowConfig(Part):
    """Comparisons of both models' answers to a random share of requests, in the background.

    Attributes:
        share: share of the weak model's answers to chat requests that are compared, drawn at random.
        strong_share: likewise for the strong model's answers.
        judge: name of the model that judges, neither of the two.
        max_usd_per_day: daily budget of comparisons in the policy's time zone, for all processes together.
        max_tokens: limit of the other model's answer, unless the request sets one.
        limit_parameter: the upstreams' name of that limit.
        judge_max_tokens: limit of a verdict with its reasons.
        concurrency: comparisons running at once.
        queue: most answers waiting to be compared; beyond that none is taken.
    """

    share: Annotated[float, Field(gt=0.0, le=1.0)]
    strong_share: Share = 0.0
    judge: Name
    max_usd_per_day: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    max_tokens: Annotated[int, Field(gt=0)] = 2048
    limit_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    judge_max_tokens: Annotated[int, Field(gt=0)] = 512
    concurrency: Annotated[int, Field(gt=0, le=64)] = 2
    queue: Annotated[int, Field(gt=0)] = 100
