"""Reads the events of an Anthropic stream for the translators to other APIs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from pointsman.serve.protocols.translation.read import Document

__all__ = ["MessageReader", "thought_tokens"]


class MessageReader(ABC):
    """Makes the events of another API's stream from those of a message.

    Attributes:
        stop: why the message ended, once it has.
        details: details about that, if any.
        told: the usage as the service reports it.
    """

    def __init__(self, asked: Document, *, created: int) -> None:
        """
        Args:
            asked: the client's request.
            created: Unix time in seconds.
        """
        self._asked = asked
        self._created = created
        self._begun = False
        self.stop: object = None
        self.details: object = None
        self.told: object = None

    def feed(self, event: Document) -> Iterator[dict[str, Any]]:
        """The events of one event."""
        kind, delta = event.get("type"), event.get("delta")
        index = event.get("index")
        index = index if isinstance(index, int) else None
        yield from self._once(event.get("message"))
        if kind == "content_block_start" and isinstance(block := event.get("content_block"), dict):
            yield from self._begin(index, block)
        elif kind == "content_block_delta" and isinstance(delta, dict):
            yield from self._continue(index, delta)
        elif kind == "content_block_stop":
            yield from self._close(index)
        elif kind == "message_delta":
            self.told = event.get("usage")
            if isinstance(delta, dict):
                self.stop = delta.get("stop_reason") or self.stop
                self.details = delta.get("stop_details") or self.details

    def _once(self, message: object = None) -> Iterator[dict[str, Any]]:
        """The first events, if not sent yet."""
        if not self._begun:
            self._begun = True
            yield from self._start(message if isinstance(message, dict) else {})

    @abstractmethod
    def _start(self, message: Document) -> Iterator[dict[str, Any]]:
        """The first events of a message that has just begun."""

    @abstractmethod
    def _begin(self, index: int | None, block: Document) -> Iterator[dict[str, Any]]:
        """Events of a block's beginning."""

    @abstractmethod
    def _continue(self, index: int | None, delta: Document) -> Iterator[dict[str, Any]]:
        """Events of a further piece of a block."""

    @abstractmethod
    def _close(self, index: int | None) -> Iterator[dict[str, Any]]:
        """Events of a block's end."""


def thought_tokens(told: object) -> int:
    """Tokens of a message's thinking, from the usage that the service reports; 0 if unknown."""
    details = told.get("output_tokens_details") if isinstance(told, dict) else None
    tokens = details.get("thinking_tokens") if isinstance(details, dict) else None
    return tokens if isinstance(tokens, int) else 0
