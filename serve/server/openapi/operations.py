"""Every documented path with its request and answer."""

from dataclasses import dataclass
from typing import Any

from pointsman.serve.config import SettingConfig
from pointsman.serve.server.openapi.answers import Decision, Decisions, Health, ModelCard, ModelList, PassedOn, Ready
from pointsman.serve.server.openapi.requests import (
    AskResponses,
    AskRoute,
    Chat,
    CountTokens,
    Embed,
    GiveFeedback,
    LabelComparison,
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
        answer: type of the 200; None for plain text.
        request: type of the body, if any.
        streams: whether it may answer with an event stream.
        public: whether it answers without a key even if keys are required.
        unready: whether its 503 has the form of its 200.
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
    ("POST", "/v1/messages/count_tokens"): Operation(
        "Count the tokens of a Messages API request", PassedOn, CountTokens
    ),
    ("POST", "/v1/embeddings"): Operation("Embed texts with the named model", PassedOn, Embed),
    ("POST", "/v1/route"): Operation("Decide without calling a model", Decision | Decisions, AskRoute),
    ("POST", "/v1/feedback"): Operation("Rate an answer", dict[str, Any], GiveFeedback),
    ("GET", "/v1/models"): Operation("List the valid values of `model`", ModelList),
    ("GET", "/v1/models/{name}"): Operation("Show one of them", ModelCard),
    ("GET", "/v1/policy"): Operation("Show the current state of the policy", dict[str, Any]),
    ("POST", "/v1/policy"): Operation(
        "Change the policy until the configuration changes", dict[str, Any], SettingConfig | ResetPolicy
    ),
    ("GET", "/v1/drift"): Operation("Show whether prompts have drifted", dict[str, Any]),
    ("POST", "/v1/drift/reset"): Operation("Reset an alarm", dict[str, Any], ResetDrift, body_optional=True),
    ("GET", "/v1/autopilot"): Operation("Show what is certified and saved, and the next step", dict[str, Any]),
    ("POST", "/v1/autopilot"): Operation("Pause, resume, roll back or reset it", dict[str, Any], SteerAutopilot),
    ("GET", "/v1/autopilot/labels"): Operation("Show pairs of answers that people are asked about", dict[str, Any]),
    ("POST", "/v1/autopilot/labels"): Operation("Say which answer is better", dict[str, Any], LabelComparison),
    ("GET", "/health"): Operation("Whether the process is alive", Health, public=True),
    ("GET", "/ready"): Operation("Whether routed requests can be answered", Ready, public=True, unready=True),
    ("GET", "/metrics"): Operation("Metrics in Prometheus' text format", public=True),
    ("GET", "/openapi.json"): Operation("This document", dict[str, Any], public=True),
}
