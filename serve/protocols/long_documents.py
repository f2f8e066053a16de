"""Analyses long documents only once, and off the event loop.

Many parts of the server need facts about a request or an answer: its tokens, its tool calls, who made its thinking.
Each walks through all of it, which for 30 MB or 50,000 parts would keep every request waiting for a tenth of a
second. So the functions that walk through a document are marked; whoever has read a long one in a thread makes
all of these walks there, and on the event loop the functions only look up the results.
"""

import threading
from collections.abc import Callable, Mapping
from functools import wraps
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["LongDocument", "explored", "is_long", "walks_answer", "walks_request"]

_LONG_BYTES = 1_000_000
_LONG_PARTS = 4_000  # arrays and objects: milliseconds each walk
_T = TypeVar("_T")
_Walk = Callable[[Mapping[str, Any]], _T]
_WALKS: dict[str, list[_Walk[Any]]] = {"request": [], "answer": []}
_LEFT: SimpleQueue[list[Any]] = SimpleQueue()  # may be put into from `__del__`
_STARTING = threading.Lock()
_THREAD = "pointsman-free"


class LongDocument(dict[str, Any]):
    """A JSON object with the results of the marked functions. Its many values are freed in a thread, too."""

    __slots__ = ("found",)

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Takes the members of `document`, without results."""
        super().__init__(document)
        self.found: dict[_Walk[Any], Any] = {}

    def __del__(self) -> None:
        """Passes its contents to the thread."""
        _LEFT.put(list(self.values()))


def is_long(body: bytes) -> bool:
    """Whether a walk through the JSON of a body may take too long for the event loop."""
    return len(body) > _LONG_BYTES or body.count(b"{") + body.count(b"[") > _LONG_PARTS


def explored(document: Mapping[str, Any], kind: str) -> LongDocument:
    """The document of a "request" or an "answer", with the results of all walks; for a thread."""
    with _STARTING:
        if not any(thread.name == _THREAD for thread in threading.enumerate()):
            threading.Thread(target=_free, name=_THREAD, daemon=True).start()
    long = LongDocument(document)
    for walk in _WALKS[kind]:
        walk(long)
    return long


def _free() -> None:
    while True:
        _LEFT.get()


def walks_request(walk: _Walk[_T]) -> _Walk[_T]:
    """Marks a function of a request's document that walks through all of it."""
    return _marked(walk, "request")


def walks_answer(walk: _Walk[_T]) -> _Walk[_T]:
    """Marks a function of a whole answer that walks through all of it."""
    return _marked(walk, "answer")


def _marked(walk: _Walk[_T], kind: str) -> _Walk[_T]:
    @wraps(walk)
    def find(document: Mapping[str, Any]) -> _T:
        if type(document) is not LongDocument:
            return walk(document)
        if walk not in document.found:
            document.found[walk] = walk(document)
        found: _T = document.found[walk]
        return found

    _WALKS[kind].append(find)
    return find
