"""Every documented path with what it takes and answers."""

from dataclasses import dataclass
from typing import Any

from pointsman.core.decision import Decision
from pointsman.serve.config import SettingConfig
from pointsman.serve.server.openapi.answers import Decisions, Health, ModelCard, ModelList, PassedOn, Ready
from pointsman.serve.server.openapi.requests import (
    AskResponses,
    AskRoute,
    Chat,
    CountTokens,
    Embed,
    GiveFeedback,
    Messages,
    ResetDrift,
    ResetPolicy,
    SteerAutopilot,
)

__all__ = ["OPERATIONS", "UNDOCUMENTED", "Operation"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        summary: one line.
        answer: type of the 200; None where it is plain text.
        request: type of the body; None where there is none.
        streams: whether it may answer with an event stream.
        public: whether it answers without a key where keys are asked for.
        unready: whether it answers 503 in the form of its 200.
        body_optional: whether the body may be left out.
    """

    summary: str
    answer: Any = None
    request: Any = None
    streams: bool = False
    public: bool = False
    unready: bool = False
    body_optional: bool = False


UNDOCUMENTED = ("/api/", "/dashboard/")  # the dashboard's own, which change with it
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation("Route a chat request and answer it", PassedOn, Chat, streams=True),
    ("POST", "/v1/responses"): Operation("Route a request of the Responses API", PassedOn, AskResponses, streams=True),
    ("POST", "/v1/responses/compact"): Operation("Summarise a conversation", PassedOn, AskResponses),
    ("POST", "/v1/messages"): Operation("Route a request of the Messages API", PassedOn, Messages, streams=True),
    ("POST", "/v1/messages/count_tokens"): Operation("Count the tokens of one", PassedOn, CountTokens),
    ("POST", "/v1/embeddings"): Operation("Embed texts with a model that is named", PassedOn, Embed),
    ("POST", "/v1/route"): Operation("Decide, and ask nobody", Decision | Decisions, AskRoute),
    ("POST", "/v1/feedback"): Operation("Say what an answer was worth", dict[str, Any], GiveFeedback),
    ("GET", "/v1/models"): Operation("Everything that `model` may name", ModelList),
    ("GET", "/v1/models/{name}"): Operation("One of them", ModelCard),
    ("GET", "/v1/policy"): Operation("What the policy's rules say now", dict[str, Any]),
    ("POST", "/v1/policy"): Operation("Set the policy's target", dict[str, Any], SettingConfig | ResetPolicy),
    ("GET", "/v1/drift"): Operation("Whether prompts have drifted", dict[str, Any]),
    ("POST", "/v1/drift/reset"): Operation("Forget an alarm", dict[str, Any], ResetDrift, body_optional=True),
    ("GET", "/v1/autopilot"): Operation("What is certified, saved, and next", dict[str, Any]),
    ("POST", "/v1/autopilot"): Operation("Pause, resume or reset it", dict[str, Any], SteerAutopilot),
    ("GET", "/health"): Operation("Whether the process answers", Health, public=True),
    ("GET", "/ready"): Operation("Whether a request could be answered", Ready, public=True, unready=True),
    ("GET", "/metrics"): Operation("Metrics in Prometheus' text format", public=True),
    ("GET", "/openapi.json"): Operation("This document", dict[str, Any], public=True),
}
