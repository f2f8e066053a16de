"""The x-pointsman-* headers, and the answer to a rejected request."""

import math
from functools import lru_cache

from starlette.types import Send

from pointsman.core.decision import Decision
from pointsman.core.dollars import dollars
from pointsman.serve.http.asgi import send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.http.streams import Headers
from pointsman.serve.request.record import Record

__all__ = ["JSON", "decision_headers", "record_headers", "refuse"]

JSON = (b"content-type", b"application/json")
_MAX_HEADER = 300
_CLOSING = (408, 413, 503)  # what is left of the body is not waited for


def decision_headers(decision: Decision, *, model: str | None = None) -> Headers:
    """The x-pointsman-* headers that tell a client what was decided and why.

    Args:
        model: the model that answered, if known.
    """
    headers = [
        (b"x-pointsman-model", header_text(model or decision.model)),
        (b"x-pointsman-reason", header_text(decision.reason)),
    ]
    if decision.router is not None:
        headers.append((b"x-pointsman-router", header_text(decision.router)))
    if decision.win_rate is not None:
        headers.append((b"x-pointsman-win-rate", b"%.6f" % decision.win_rate))
    if decision.threshold is not None:
        headers.append((b"x-pointsman-threshold", b"%.6f" % decision.threshold))
    if decision.policy is not None:
        headers.append((b"x-pointsman-policy", header_text(decision.policy)))
    if decision.weighed:
        headers.append((b"x-pointsman-candidates", header_text(_candidates(decision))))
    return tuple(headers)


def _candidates(decision: Decision) -> str:
    """The candidates in order, with win rates against them and expected dollars: "big 0.500 $0.0021, ..."."""
    found = []
    for each in decision.weighed:
        rate = "" if each.candidate.win_rate is None else f" {each.candidate.win_rate:.3f}"
        bill = "" if each.candidate.usd is None else f" {dollars(each.candidate.usd)}"
        found.append(f"{each.candidate.name}{rate}{bill}")
    return ", ".join(found)


def record_headers(record: Record) -> Headers:
    """The id of a request, and headers for its decision and its attempts."""
    headers: Headers = ((b"x-pointsman-request-id", record.id.encode("ascii")),)
    if record.decision is not None:
        headers = (*headers, *decision_headers(record.decision, model=record.model))
    cascade = record.context.cascade if record.context is not None else None
    if cascade is not None and (told := cascade.header()):
        headers = (*headers, (b"x-pointsman-cascade", header_text(told)))
    if len(trail := record.trail) > 1:
        headers = (*headers, (b"x-pointsman-chain", header_text(", ".join(trail))))
    return headers


async def refuse(send: Send, error: RequestError, headers: Headers = ()) -> None:
    """Answers an invalid request."""
    more: Headers = ((b"connection", b"close"),) if error.status in _CLOSING else ()
    if error.retry_after_s is not None:
        more = (*more, (b"retry-after", b"%d" % math.ceil(error.retry_after_s)))
    await send_body(send, error.status, error.body(), (JSON, *more, *headers))


@lru_cache(maxsize=4096)
def header_text(text: str) -> bytes:
    """`text` as the value of a header: printable ASCII, bounded."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("ascii", "backslashreplace")[:_MAX_HEADER]
