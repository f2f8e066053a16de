"""Parses feedback."""

from typing import Any

from pointsman.core.pair import ModelPair
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.requests import read_object

__all__ = ["PREFERENCE", "RATING", "read_feedback"]

RATING, PREFERENCE = "rating", "preference"
_MAX_COMMENT = 4000
_OUTCOMES = {"strong": 1.0, "tie": 0.5, "weak": 0.0}


def read_feedback(body: bytes, pair: ModelPair) -> tuple[str, str, float, str | None]:
    """Request id, kind, value and comment of a request's body.

    Raises:
        RequestError: 400, naming the parameter, its value and what was wanted.
    """
    document = read_object(body)
    request_id = document.get("request_id")
    if not isinstance(request_id, str) or not request_id:
        raise _wrong(document, "request_id", "the x-pointsman-request-id of an answer")
    comment = document.get("comment")
    if comment is not None and not (isinstance(comment, str) and len(comment) <= _MAX_COMMENT):
        raise RequestError(f"comment is not a string of at most {_MAX_COMMENT:,} characters", param="comment")
    if (RATING in document) == (PREFERENCE in document):
        raise RequestError("wanted either rating or preference", param=RATING)
    if RATING in document:
        rating = document[RATING]
        if isinstance(rating, bool) or not isinstance(rating, (int, float)) or not 0 <= rating <= 1:
            raise _wrong(document, RATING, "a number from 0 (useless) to 1 (perfect)")
        return request_id, RATING, float(rating), _storable(comment)
    return request_id, PREFERENCE, _preference(document, pair), _storable(comment)


def _preference(document: dict[str, Any], pair: ModelPair) -> float:
    outcomes = {**_OUTCOMES, pair.strong: 1.0, pair.weak: 0.0}
    preference = document[PREFERENCE]
    if not isinstance(preference, str) or preference not in outcomes:
        raise _wrong(document, PREFERENCE, f"one of {', '.join(outcomes)}")
    return outcomes[preference]


def _storable(comment: str | None) -> str | None:
    """`comment` without what a database does not take: NUL and lone surrogates."""
    return None if comment is None else comment.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _wrong(document: dict[str, Any], name: str, wanted: str) -> RequestError:
    shown = repr(document[name]) if name in document else "missing"
    return RequestError(f"{name} is {shown[:80]}, wanted {wanted}", param=name)
