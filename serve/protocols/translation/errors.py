"""Translates errors, so that clients recognize, for example, a prompt that is too long."""

import re
from typing import Any

from pointsman.serve.http.errors import error_body
from pointsman.serve.protocols.read_json import read_json

__all__ = ["chat_error", "messages_error_message"]

_TOO_LONG = "context_length_exceeded"  # OpenAI's code
_PROMPT_TOO_LONG = "prompt is too long"  # by these words Anthropic's clients know that they must shorten it
_ANTHROPIC_TOO_LONG = re.compile(r"prompt is too long|exceed(s|ed)? (the )?context (limit|window)", re.IGNORECASE)
_OPENAI_TOO_LONG = re.compile(
    r"maximum context length|context_length_exceeded|exceeds? the (model's )?(available )?context", re.IGNORECASE
)


def chat_error(body: bytes) -> bytes:
    """An error of Anthropic's API in OpenAI's form; anything else unchanged."""
    error = _error(body)
    if error is None:
        return body
    message = str(error["message"])
    code = _TOO_LONG if _ANTHROPIC_TOO_LONG.search(message) else error.get("code")
    return error_body(message, str(error.get("type") or "api_error"), code=code if isinstance(code, str) else None)


def messages_error_message(body: bytes) -> bytes:
    """An error of OpenAI's API, worded so that Anthropic's clients recognize an overlong prompt; its shape is kept."""
    error = _error(body)
    if error is None:
        return body
    message = str(error["message"])
    if error.get("code") != _TOO_LONG and not _OPENAI_TOO_LONG.search(message):
        return body
    told = message if _PROMPT_TOO_LONG in message.lower() else f"{_PROMPT_TOO_LONG}: {message}"
    return error_body(told, str(error.get("type") or "invalid_request_error"), code=_TOO_LONG)


def _error(body: bytes) -> dict[str, Any] | None:
    """The error in a body; None if it has no message."""
    try:
        document = read_json(body)
    except ValueError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) and error.get("message") else None
