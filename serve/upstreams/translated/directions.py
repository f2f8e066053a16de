"""From which API to which a model is asked: what the translations have in common."""

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
    """Makes the events of one API's stream from those of another's."""

    def feed(self, event: "Document") -> Iterator[dict[str, Any]]: ...

    def end(self, usage: Usage | None) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Direction:
    """One translation.

    Attributes:
        path: what the service is asked at.
        request: the client's document in the service's words; raises `RequestError`.
        hints: parameters without which a service that refuses them is asked again; dotted ones are inside another.
        answer: the service's whole answer in the client's words, with the client's document.
        events: makes the translation of one stream for a client's document.
        watch: makes the watch over the service's stream.
        error: the body of the service's error in the client's words.
        foreign_headers: begins headers of the client's API that mean nothing to the service.
        named: whether the client's events have names.
        closing: what ends the client's stream.
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
