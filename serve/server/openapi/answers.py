"""What is answered. What comes from a model is passed on as it is: more fields than are named, or other ones."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pointsman.core.decision import Decision

__all__ = ["Decisions", "Error", "Health", "ModelCard", "ModelList", "PassedOn", "Problem", "Ready"]


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
