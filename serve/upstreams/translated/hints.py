"""Parameters that a service refuses and an answer does not hang on: it is asked again without them."""

from collections.abc import Mapping
from typing import Any

__all__ = ["RefusedHints"]

_REFUSALS = (400, 422)
_MOST_REMEMBERED = 64  # values of hints, of one model
_BY_NAME = ("user", "metadata", "thinking")  # whose every value is refused where one is


class RefusedHints:
    """What one model's service refuses: a value is left out from then on once a request has passed without it."""

    def __init__(self, hints: tuple[str, ...]) -> None:
        self._hints = hints
        self._refused: set[tuple[str, str]] = set()

    def without_refused(self, document: dict[str, Any]) -> dict[str, Any]:
        """The request without what is known to be refused."""
        known = [hint for hint in self._hints if (hint, _shown(hint, document)) in self._refused]
        return _without(document, known) if known else document

    def complained_of(self, document: Mapping[str, Any], status: int, body: bytes) -> tuple[str, ...]:
        """The hints in a request that a refusal names; none where it refuses for something else."""
        if status not in _REFUSALS:
            return ()
        present = [hint for hint in self._hints if _value(hint, document) is not None]
        return tuple(hint for hint in present if any(word.encode() in body for word in hint.split(".")))

    def without(self, document: Mapping[str, Any], hints: tuple[str, ...]) -> dict[str, Any]:
        """The request without some hints."""
        return _without(document, hints)

    def remember(self, document: Mapping[str, Any], hints: tuple[str, ...]) -> None:
        """Takes note that a request passed without them."""
        if len(self._refused) + len(hints) <= _MOST_REMEMBERED:
            self._refused.update((hint, _shown(hint, document)) for hint in hints)


def _value(hint: str, document: Mapping[str, Any]) -> Any:
    outer, _, inner = hint.partition(".")
    value = document.get(outer)
    return value.get(inner) if inner and isinstance(value, Mapping) else None if inner else value


def _shown(hint: str, document: Mapping[str, Any]) -> str:
    value = _value(hint, document)
    return "" if hint in _BY_NAME and value is not None else repr(value)


def _without(document: Mapping[str, Any], hints: list[str] | tuple[str, ...]) -> dict[str, Any]:
    changed = dict(document)
    for hint in hints:
        outer, _, inner = hint.partition(".")
        value = changed.pop(outer, None)
        if inner and isinstance(value, Mapping) and (rest := {k: v for k, v in value.items() if k != inner}):
            changed[outer] = rest
    return changed
