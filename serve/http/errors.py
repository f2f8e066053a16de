"""Errors of requests and upstreams, in OpenAI's error shape."""

from typing import Any

import orjson

from pointsman.core.errors import PointsmanError, UpstreamError

__all__ = ["RequestError", "UpstreamFailure", "error_body"]

_MOST_CHARACTERS = 8_000  # of a message or a parameter's name


class RequestError(PointsmanError, ValueError):
    """A request rejected because of a client error, or because there is no room for it now.

    Attributes:
        status: HTTP status, 4xx or 503.
        type, param, code: OpenAI's fields of the same names.
        retry_after_s: when it is worth asking again; None where asking again would not help.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """The OpenAI-shaped answer."""
        return error_body(str(self), self.type, param=self.param, code=self.code)


class UpstreamFailure(UpstreamError):  # noqa: N818  (an UpstreamError that knows its HTTP status)
    """A model's service gave no usable answer.

    Attributes:
        status: HTTP status for the client: 502, or 504 where time ran out.
        code: one word for the kind of failure, e.g. "upstream_timeout".
        retry_after_s: when it is worth asking again; None where nothing is known of that.
        answer: what the upstream sent and charges for, though it is of no use; None where it sent nothing.
        said: the upstream's own words, for the client alone: they may quote the request, so no log has them.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        code: str = "upstream_error",
        retry_after_s: float | None = None,
        said: str = "",
        answer: Any = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.said = said
        self.answer = answer

    @property
    def message(self) -> str:
        """What the client is told."""
        return f"{self}: {self.said}" if self.said else str(self)

    def body(self) -> bytes:
        """The OpenAI-shaped answer."""
        return error_body(self.message, "upstream_error", code=self.code)


def error_body(message: str, type: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """JSON of one error as OpenAI's API words it."""
    error = {"message": message, "type": type, "param": param, "code": code}
    told = {name: _printable(value) if isinstance(value, str) else value for name, value in error.items()}
    return orjson.dumps({"error": told})


def _printable(text: str) -> str:
    """Without lone surrogates, and without the middle of what quotes a long part of a request."""
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS // 2]} ... {text[-_MOST_CHARACTERS // 2 :]}"
    return text.encode("utf-8", "replace").decode("utf-8")
