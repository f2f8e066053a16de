"""OpenAI's JSON answers with attributes: `answer.choices[0].message.content`."""

import json
from collections.abc import Iterator
from typing import Any

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.sse import event_data
from pointsman.serve.upstreams.base import Reply

__all__ = ["Answer", "read_answer", "read_events"]

# What OpenAI's API may leave out, and its own client then shows as None.
_OPTIONAL = frozenset({
    "annotations", "audio", "content", "finish_reason", "function_call", "logprobs", "name", "reasoning_content",
    "refusal", "role", "service_tier", "system_fingerprint", "tool_calls", "usage",
})  # fmt: skip


class Answer(dict[str, Any]):
    """A JSON object whose keys are attributes, too; optional fields that are absent are None."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return _wrap(self[name])
        if name in _OPTIONAL:
            return None
        raise AttributeError(f"the answer has no field {name!r}; it has {', '.join(self)}")

    def model_dump(self) -> dict[str, Any]:
        """A plain dict of the same."""
        return dict(self)


def read_answer(reply: Reply) -> Answer:
    """A whole reply as an answer.

    Raises:
        UpstreamFailure: it reports an error.
    """
    answer = Answer(json.loads(reply.body))
    if reply.status >= 400:
        error = answer.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise UpstreamFailure(f"the model answered {reply.status}: {message or dict(answer)}", status=reply.status)
    return answer


def read_events(events: bytes) -> Iterator[Answer]:
    """The chunks in some complete events of a stream.

    Raises:
        UpstreamFailure: an event reports an error.
    """
    for data in event_data(events):
        if data.strip() and data.strip() != b"[DONE]":
            answer = Answer(json.loads(data))
            if answer.get("error"):
                raise UpstreamFailure(f"the model's stream broke: {answer['error']}")
            yield answer


def _wrap(value: Any) -> Any:
    if isinstance(value, dict):
        return Answer(value)
    return [_wrap(item) for item in value] if isinstance(value, list) else value
