"""The common parts of all translations between APIs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pointsman.serve.protocols.openai_streams import EventStream
from pointsman.serve.protocols.usage import Usage

if TYPE_CHECKING:
    from pointsman.serve.protocols.translation.read import Document

__all__ = ["CHAT_PATH", "MESSAGES_PATH", "RESPONSES_PATH", "Direction", "Events"]

CHAT_PATH, MESSAGES_PATH, RESPONSES_PATH = "/chat/completions", "/messages", "/responses"


class Events(Protocol):
    """Makes the events of one API's stream from those of another."""

    def feed(self, event: "Document") -> Iterator[dict[str, Any]]: ...

    def end(self, usage: Usage | None) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Direction:
    """One translation.

    Attributes:
        path: the service's path.
        request: translates the client's document for the service; raises `RequestError`.
        hints: parameters that are left out if the service rejects them; dotted ones are inside another.
        answer: translates the service's whole answer, given the client's document.
        events: makes the translator of one stream for a client's document.
        watch: makes the state of the service's stream.
        error: the body of the service's error in the client's words.
        foreign_headers: prefix of headers of the client's API that mean nothing to the service.
        named: whether the client's events have names.
        closing: the end of the client's stream.
    """

    path: str
    request: Callable[["Document"], dict[str, Any]]
    hints: tuple[str, ...]
    answer: Callable[["Document", "Document"], dict[str, Any]]
    events: Callable[["Document"], Events]
    watch: Callable[[], EventStream]
    error: Callable[[bytes], bytes]
    foreign_headers: str
    named: bool
    closing: bytes = b""
