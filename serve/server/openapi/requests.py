"""Types of requests. Only the fields used here are described; all others are passed on unchanged."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AskResponses",
    "AskRoute",
    "Chat",
    "CountTokens",
    "Embed",
    "GiveFeedback",
    "LabelComparison",
    "Messages",
    "ResetDrift",
    "ResetPolicy",
]

_Model = Annotated[
    str,
    Field(
        min_length=1,
        description="auto, router-<name>, router-<name>-<threshold>, router-<name>-<N>pct (share of strong calls, of "
        "more than two models share of spend), -cost<USD> or -loss<L> from calibration, or a model's own id",
        examples=["auto", "router-mf-0.5", "router-mf-30pct"],
    ),
]
_Stream = Annotated[bool | None, Field(description="whether to answer with an event stream")]


class _Open(BaseModel):
    """Allows further fields."""

    model_config = ConfigDict(extra="allow")


class TextPart(_Open):
    """A piece of text in a message."""

    type: Annotated[str, Field(examples=["text"])]
    text: str = ""


class Message(_Open):
    """One turn of a conversation."""

    role: Annotated[str, Field(examples=["user"])]
    content: str | list[TextPart] | None = None


class Chat(_Open):
    """A request of OpenAI's Chat Completions API. Routed by the text of the last user turn."""

    model: _Model
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: _Stream = None


class AskResponses(_Open):
    """A request of OpenAI's Responses API. Routed by `input`, or by the text of its last user item."""

    model: _Model
    input: str | list[dict[str, Any]] | None = None
    stream: _Stream = None


class Messages(_Open):
    """A request of Anthropic's Messages API. Routed by the text of the last user turn."""

    model: _Model
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: int | None = None
    stream: _Stream = None


class CountTokens(_Open):
    """A Messages API request whose tokens to count."""

    model: _Model
    messages: Annotated[list[Message], Field(min_length=1)]


class Embed(_Open):
    """A request of OpenAI's Embeddings API; it is not routed."""

    model: Annotated[str, Field(min_length=1, description="a model's own id")]
    input: Any = None


class AskRoute(_Open):
    """A prompt to decide on; or many `prompts`, or a chat request with `messages` instead of `prompt`."""

    model: _Model = "auto"
    prompt: Annotated[str | None, Field(examples=["Prove that 2 is prime."])] = None
    prompts: Annotated[
        list[str] | None,
        Field(min_length=1, max_length=10_000, description="up to 10,000; the answer lists `decisions`"),
    ] = None
    messages: list[Message] | None = None
    explain: Annotated[
        bool, Field(description="whether to include the reasons for the decision, its cost and its savings")
    ] = False


class GiveFeedback(_Open):
    """Feedback on an answer: either a rating or a preference."""

    request_id: Annotated[str, Field(min_length=1, description="the answer's x-pointsman-request-id")]
    rating: Annotated[float | None, Field(ge=0, le=1, description="from 0 (useless) to 1 (perfect)")] = None
    preference: Annotated[str | None, Field(description="strong, weak, tie, or one of the two models' names")] = None
    comment: Annotated[str | None, Field(max_length=4000)] = None


class ResetPolicy(BaseModel):
    """Restores the configured setting."""

    reset: Literal[True]


class SteerAutopilot(_Open):
    """Pauses or resumes the autopilot's comparisons, rolls back a generation, or resets everything certified."""

    action: Literal["pause", "resume", "rollback", "reset"]


class LabelComparison(_Open):
    """Which of the two answers of a comparison is better."""

    id: str
    better: Literal["a", "b", "tie"]


class ResetDrift(_Open):
    """The router whose alarm to reset; all routers if none is named."""

    router: str | None = None
