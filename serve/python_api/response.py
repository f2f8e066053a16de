"""OpenAI's JSON answers with attributes: `answer.choices[0].message.content`."""

from typing import Any

__all__ = ["Answer"]

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


def _wrap(value: Any) -> Any:
    if isinstance(value, dict):
        return Answer(value)
    return [_wrap(item) for item in value] if isinstance(value, list) else value
