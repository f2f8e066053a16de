"""Notices that an upstream serves another model under the same name, by the `system_fingerprint` of its answers.

Services that roll out a change answer with two fingerprints for a while, and some alternate between several. So a model
counts as changed once `RUN` answers in a row, of one process, have had fingerprints that evidence does not rest on.
"""

from collections.abc import Mapping, Sequence

from pointsman.serve.upstreams.tries import Attempt

__all__ = ["RUN", "Fingerprints", "fingerprint_of"]

RUN = 20
_MAX_LENGTH = 100


def fingerprint_of(attempt: Attempt) -> str | None:
    """What an answer tells; None where it tells none."""
    told = attempt.stream.fingerprint if attempt.stream is not None else attempt.document().get("system_fingerprint")
    return told[:_MAX_LENGTH] if isinstance(told, str) and told else None


class Fingerprints:
    """Those that a process has seen since its last report."""

    def __init__(self) -> None:
        self.known: Mapping[str, Sequence[str]] = {}
        self._new: dict[str, list[str]] = {}  # by model, of the latest answers in a row
        self._first: dict[str, str] = {}

    def see(self, model: str, told: str | None) -> None:
        """Takes note of what an answer told."""
        if told is None:
            return
        if not self.known.get(model):
            self._first.setdefault(model, told)
        elif told in self.known[model]:
            self._new.pop(model, None)
        else:
            self._new[model] = [*self._new.get(model, ()), told][-RUN:]

    def take(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """The first fingerprint of models of which none was known, and the new ones of models that have changed."""
        changed = {model: sorted(set(told)) for model, told in self._new.items() if len(told) >= RUN}
        first, self._first = self._first, {}
        for model in changed:
            del self._new[model]
        return first, changed
