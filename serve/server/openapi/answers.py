"""Types of answers. Models' answers are passed on unchanged, with more fields than described, or other ones."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Decision",
    "Decisions",
    "Error",
    "Health",
    "ModelCard",
    "ModelList",
    "PassedOn",
    "Problem",
    "Ready",
    "WeighedModel",
]


class PassedOn(BaseModel):
    """The answer of the model that was chosen, in the words of its API."""

    model_config = ConfigDict(extra="allow")


class Problem(BaseModel):
    """What was wrong."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: Annotated[str | None, Field(examples=["invalid_request_error"])] = None
    param: Annotated[str | None, Field(description="the field that is wrong")] = None
    code: Annotated[Any, Field(examples=["model_not_found"])] = None


class Error(BaseModel):
    """An error, as OpenAI's API words it; on /v1/messages as Anthropic's does."""

    model_config = ConfigDict(extra="allow")

    error: Problem


class ModelCard(BaseModel):
    """One thing that a request's `model` may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[ModelCard]


class WeighedModel(BaseModel):
    """One of more than two candidates, as it was weighed."""

    model: str
    win_rate: Annotated[float | None, Field(description="of the reference over it; 0.5 for the reference")]
    usd: Annotated[float | None, Field(description="expected cost of this prompt; null where no price is known")]
    relative_bill: Annotated[float, Field(description="from 0, the cheapest, to 1, the reference")]
    score: Annotated[float | None, Field(description="win rate and cost at the threshold; the lowest is chosen")]


class Decision(BaseModel):
    """Which model a prompt goes to, and why."""

    model_config = ConfigDict(extra="allow")

    model: str
    win_rate: Annotated[
        float | None, Field(description="of the strong model; of more than two the reference's mean over the others")
    ]
    threshold: Annotated[float | None, Field(description="two models: strong iff the win rate is at least this")]
    router: Annotated[str | None, Field(description="null where the request named a model")]
    reason: Annotated[str, Field(examples=["win_rate"])]
    candidates: Annotated[list[str], Field(description="strong first; of more than two in the order they are asked in")]
    policy: Annotated[str | None, Field(description="what set the threshold")] = None
    rule: Annotated[str | None, Field(description="the configured rule that it follows")] = None
    share: Annotated[
        float | None, Field(description="more than two: from 0, the cheapest, to 1, the reference's expected cost")
    ] = None
    margin: Annotated[
        float | None, Field(description="more than two: by how much, in win rate, the next one is worse")
    ] = None
    weighed: Annotated[list[WeighedModel] | None, Field(description="more than two: each one, best first")] = None
    explanation: Annotated[dict[str, Any] | None, Field(description="where explain was asked for")] = None


class Decisions(BaseModel):
    """The decisions on many prompts, in their order."""

    decisions: list[Decision]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether a routed request could be answered now."""

    status: Literal["ready", "not ready"]
    models: Annotated[dict[str, str], Field(description="state of each model: up, or circuit open")]
    config: Annotated[str, Field(description="digest of the configuration and its checkpoints")]
