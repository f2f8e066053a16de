"""Remembers which model made what later requests refer to: tool calls, stored responses, thinking."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

from pointsman.serve.protocols.turns import answer_marks, held_marks
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.conversations import owner_of, session_of
from pointsman.serve.request.record import Record

__all__ = ["Makers"]

_CALL = "call:"
_MOST_MARKS = 1000  # of one request or answer that are looked at: more make none work on, and take milliseconds
_DISTINCT = re.compile(r"(?=[A-Za-z0-9]*[A-Za-z])(?=[A-Za-z0-9]*[0-9])[A-Za-z0-9]{12,}")


class Makers:
    """The makers of the last `size` marks (`protocols/turns.py`), separately for each key.

    Some services number their tool calls (call_1, functions.search:0): such an id has a meaning only in its own
    conversation, and is remembered with it.
    """

    def __init__(self, *, size: int = 100_000) -> None:
        """Starts empty.

        Raises:
            ValueError: `size` is not positive.
        """
        if size < 1:
            raise ValueError(f"size is {size}, wanted a positive number")
        self._size = size
        self._models: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def note(self, marks: Iterable[str], model: str, *, owner: str, conversation: Callable[[], str]) -> None:
        """Remembers that `model` made them; the oldest are forgotten first.

        Args:
            owner: the key's, since keys share nothing.
            conversation: returns its identity; called only if needed.
        """
        for mark in islice(marks, _MOST_MARKS):
            key = _key(mark, owner, conversation)
            self._models[key] = model
            self._models.move_to_end(key)
        while len(self._models) > self._size:
            self._models.popitem(last=False)

    def __call__(self, record: Record) -> None:
        """Remembers the makers of a finished request's answer; an observer of requests."""
        context = record.context
        if context is None or record.model is None or context.dry_run or not context.attempts:
            return
        last = context.attempts[-1]
        marks = last.stream.marks if last.stream is not None else answer_marks(last.document())
        if record.outcome == "answered":  # whatever it went on with, goes on there
            marks = [*marks, *held_marks(context.request.document)]
        if marks:
            self.note(marks, record.model, owner=owner_of(context), conversation=lambda: session_of(context))

    def makers_of(self, marks: Iterable[str], context: RequestContext) -> dict[str, str]:
        """The known makers of marks in a request."""
        owner = owner_of(context)
        marks = list(marks)[-_MOST_MARKS:]
        found = {mark: self.maker([mark], owner=owner, conversation=lambda: session_of(context)) for mark in marks}
        return {mark: model for mark, model in found.items() if model is not None}

    def maker(self, marks: Iterable[str], *, owner: str, conversation: Callable[[], str]) -> str | None:
        """The first known maker of these marks, or None."""
        found = (self._models.get(_key(mark, owner, conversation)) for mark in islice(marks, _MOST_MARKS))
        return next((model for model in found if model is not None), None)


def _key(mark: str, owner: str, conversation: Callable[[], str]) -> bytes:
    within = conversation() if mark.startswith(_CALL) and not _DISTINCT.search(mark, len(_CALL)) else ""
    told = repr((owner, within, mark)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=16).digest()
