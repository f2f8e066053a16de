"""Errors in the shape of Anthropic's API: {"type": "error", "error": {"type", "message"}}."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.serve.protocols.read_json import read_json
from pointsman.serve.protocols.write_json import write_json

__all__ = ["MessagesErrors", "messages_error", "reshape_error"]

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FIRST_ERROR = 400


class MessagesErrors:
    """Wraps an ASGI application whose errors have OpenAI's shape; errors already in Anthropic's shape are kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        pieces: list[bytes] = []

        async def send_reshaped(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] >= _FIRST_ERROR:
                start = message
            elif start is None:
                await send(message)
            else:
                pieces.append(message.get("body", b""))
                if not message.get("more_body", False):
                    body = reshape_error(start["status"], b"".join(pieces))
                    await send({**start, "headers": _with_length(start["headers"], len(body))})
                    await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, send_reshaped)


def messages_error(status: int, message: str, *, code: object = None) -> dict[str, Any]:
    """One error, its type by the HTTP status.

    Args:
        code: tells clients which error of its type it is; may be None.
    """
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    details = {"details": {"error_code": code}} if isinstance(code, str) else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}}


def reshape_error(status: int, body: bytes) -> bytes:
    """The body of an error in Anthropic's shape; unchanged if it already has it.

    Args:
        body: JSON, {"error": {"message": ...}} or anything else.
    """
    try:
        document = read_json(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("type") == "error":
        return body
    error = document.get("error") if isinstance(document, dict) else None
    message, code = (error.get("message"), error.get("code")) if isinstance(error, dict) else (error, None)
    return write_json(messages_error(status, str(message or f"the model answered {status}"), code=code))


def _with_length(headers: list[tuple[bytes, bytes]], n_bytes: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [(b"content-length", b"%d" % n_bytes), *kept]
