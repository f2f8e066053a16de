"""Errors as upstreams report them: in bodies of any status, and in the events of streams.

Every service words them in its own way. What is read here is the message, and the HTTP status that the error's own code
means, so that a client's mistake in a 200 is told as the client's mistake.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.serve.http.errors import UpstreamFailure, error_body
from pointsman.serve.protocols.read_json import read_json

__all__ = ["ReportedError", "ReportedFailure", "describe_refusal", "find_error"]

_MAX_MESSAGE = 2000
_HTML = re.compile(rb"\s*<(?:!doctype|html|head|body)", re.IGNORECASE)

# By the words of OpenAI, Anthropic, Google, vLLM, SGLang and LiteLLM, lower case, letters alone.
_STATUSES = {
    400: (
        *("invalidrequesterror", "badrequesterror", "badrequest", "invalidargument", "failedprecondition"),
        *("outofrange", "invalidprompt", "invalidvalue", "contextlengthexceeded", "contextwindowexceedederror"),
        *("contentfilter", "contentpolicyviolation", "contentpolicyviolationerror", "valueerror", "validationerror"),
    ),
    401: ("authenticationerror", "unauthenticated", "unauthorized", "invalidapikey"),
    402: ("billingerror",),
    403: ("permissionerror", "permissiondenied", "permissiondeniederror", "forbidden"),
    404: ("notfounderror", "notfound", "modelnotfound"),
    413: ("requesttoolarge",),
    422: ("unprocessableentityerror",),
    429: ("ratelimiterror", "ratelimitexceeded", "insufficientquota", "resourceexhausted", "toomanyrequests"),
    500: ("apierror", "servererror", "internalservererror", "internal", "internalerror", "unknown"),
    503: ("unavailable", "serviceunavailable", "serviceunavailableerror"),
    504: ("timeouterror", "deadlineexceeded", "vectorstoretimeout", "timeout"),
    529: ("overloadederror", "overloaded"),
}
_BY_WORD = {word: status for status, words in _STATUSES.items() for word in words}
_IMAGE_PROBLEM = re.compile(r"image")  # the Responses API has a dozen codes for images that it cannot use


@dataclass(frozen=True, slots=True)
class ReportedError:
    """One error.

    Attributes:
        message: the upstream's words; they may quote the request.
        status: HTTP status that its code means; None where it does not tell.
        type, code, param: as the upstream has them; None where it does not.
    """

    message: str
    status: int | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None

    def body(self) -> bytes:
        """The OpenAI-shaped answer."""
        return error_body(self.message, self.type or "upstream_error", param=self.param, code=self.code)


class ReportedFailure(UpstreamFailure):
    """A stream whose first event is an error."""

    def __init__(self, reported: ReportedError) -> None:
        super().__init__("the upstream answered with an error", said=reported.message)
        self.reported = reported


def find_error(document: Mapping[str, Any]) -> ReportedError | None:
    """The error that a body or an event reports; None where it reports none.

    {"error": ...} as OpenAI and Anthropic have it, or the whole document where its `object` or `type` is "error".
    """
    error = document.get("error")
    if not error and "error" not in (document.get("object"), document.get("type")):
        return None
    return _read(error or document)


def describe_refusal(body: bytes) -> ReportedError | None:
    """What a body with an error status says, in whatever form; None where it says nothing that a person can read."""
    try:
        document = read_json(body)
    except ValueError:
        text = "" if _HTML.match(body) else body[: 4 * _MAX_MESSAGE].decode("utf-8", "replace").strip()
        return ReportedError(text[:_MAX_MESSAGE]) if text else None
    while isinstance(document, list):  # Gemini's
        document = document[0] if document else None
    if isinstance(document, str):
        return ReportedError(document[:_MAX_MESSAGE]) if document else None
    if not isinstance(document, dict):
        return None
    found = _read(document.get("error") or document)
    return found if found.message else None


def _read(error: object) -> ReportedError:
    if not isinstance(error, Mapping):
        return ReportedError(str(error)[:_MAX_MESSAGE])
    told = [error.get(name) for name in ("code", "status", "status_code", "http_status", "type")]
    status = next((status for each in told if (status := _status(each)) is not None), None)
    code = error.get("code", error.get("status"))
    return ReportedError(
        _message(error)[:_MAX_MESSAGE],
        status,
        _text(error.get("type")),
        None if code is None or isinstance(code, (dict, list)) else str(code),
        _text(error.get("param")),
    )


def _message(error: Mapping[str, Any]) -> str:
    """FastAPI tells its errors as `detail`, a string or a list of {"msg": ...}; others in `errors`."""
    for name in ("message", "detail", "msg", "error", "errors", "error_message", "reason"):
        value = error.get(name)
        if isinstance(value, list):
            parts = [_message(each) if isinstance(each, Mapping) else str(each) for each in value]
            value = "; ".join(filter(None, parts))
        elif isinstance(value, Mapping):
            value = _message(value)
        if isinstance(value, str) and value:
            return value
    kind = error.get("code") or error.get("type")
    return str(kind) if kind and kind != "error" else ""


def _status(told: object) -> int | None:
    if isinstance(told, str):
        if told.isascii() and told.isdigit():
            told = int(told)
        else:
            word = "".join(filter(str.isalpha, told.lower()))
            return _BY_WORD.get(word, 400 if _IMAGE_PROBLEM.search(word) else None)
    return told if isinstance(told, int) and not isinstance(told, bool) and 400 <= told <= 599 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
