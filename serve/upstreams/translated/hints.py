"""Parameters that a service rejects and an answer does not depend on: hints, and the name of the length limit."""

from collections.abc import Mapping
from typing import Any

__all__ = ["RefusedHints"]

_REFUSALS = (400, 422)
_MOST_REMEMBERED = 64  # values of hints, of one model
_BY_NAME = ("user", "metadata", "thinking")  # whose every value is refused where one is
_LIMITS = ("max_tokens", "max_completion_tokens")  # services know one of them, and name the newer one in both cases


class RefusedHints:
    """What one model's service rejects: left out from then on, once a request has succeeded without it."""

    def __init__(self, hints: tuple[str, ...]) -> None:
        """Takes the names of the hints; those with a dot are inside another parameter."""
        self._hints = hints
        self._refused: set[tuple[str, str]] = set()
        self._limit: str | None = None

    def applied(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The request as the service is known to accept it."""
        known = [hint for hint in self._hints if (hint, _shown(hint, document)) in self._refused]
        mended = _without(document, known)
        return _swapped(mended) if self._limit is not None and self._limit not in mended else mended

    def mended(self, document: Mapping[str, Any], status: int, body: bytes) -> dict[str, Any] | None:
        """The request without the hint that a rejection complains about; None if it is about something else."""
        if status not in _REFUSALS:
            return None
        named = [hint for hint in self._hints if _value(hint, document) is not None and _names(body, hint)]
        mended = _without(document, named)
        if _LIMITS[1].encode() in body and any(limit in document for limit in _LIMITS):
            return _swapped(mended)
        return mended if named else None

    def remember(self, asked: Mapping[str, Any], passed: Mapping[str, Any]) -> None:
        """Remembers that a request succeeded as `passed` but not as `asked`."""
        gone = [hint for hint in self._hints if _value(hint, asked) is not None and _value(hint, passed) is None]
        if len(self._refused) + len(gone) <= _MOST_REMEMBERED:
            self._refused.update((hint, _shown(hint, asked)) for hint in gone)
        limit = next((limit for limit in _LIMITS if limit in passed), None)
        if limit is not None and limit not in asked:
            self._limit = limit


def _names(body: bytes, hint: str) -> bool:
    return any(word.encode() in body for word in hint.split("."))


def _value(hint: str, document: Mapping[str, Any]) -> Any:
    outer, _, inner = hint.partition(".")
    value = document.get(outer)
    if not inner:
        return value
    return value.get(inner) if isinstance(value, Mapping) else None


def _shown(hint: str, document: Mapping[str, Any]) -> str:
    value = _value(hint, document)
    return "" if hint in _BY_NAME and value is not None else repr(value)


def _without(document: Mapping[str, Any], hints: list[str]) -> dict[str, Any]:
    changed = dict(document)
    for hint in hints:
        outer, _, inner = hint.partition(".")
        value = changed.pop(outer, None)
        if inner and isinstance(value, Mapping) and (rest := {k: v for k, v in value.items() if k != inner}):
            changed[outer] = rest
    return changed


def _swapped(document: Mapping[str, Any]) -> dict[str, Any]:
    """The request with the other name of the limit."""
    others = dict(zip(_LIMITS, reversed(_LIMITS), strict=True))
    return {others.get(name, name): value for name, value in document.items()}
