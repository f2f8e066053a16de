"""Orders the interleaved parts of a chat stream: thinking, text and tool calls, one after the other.

A chat stream may send several calls at once, interleaved, or their arguments at the end; a message's blocks come one
after the other. The block that is open is passed on as it comes, the others wait until it is complete.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pointsman.serve.protocols.translation.messages_over_chat.answer import call_id, own_signature
from pointsman.serve.protocols.translation.tools import is_complete

__all__ = ["Lanes"]


@dataclass(slots=True)
class _Lane:
    """One block.

    Attributes:
        kind: "thinking", "text" or "tool_use".
        start: the block as it begins.
        place: the call's index in the chat stream.
        identifier: the call's id there.
        said: all of it so far.
        waiting: what is not yet passed on.
        begun: whether its beginning was.
        closed: whether its end was.
    """

    kind: str
    start: dict[str, Any]
    place: int | None = None
    identifier: str = ""
    said: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    begun: bool = False
    closed: bool = False

    def add(self, text: str) -> None:
        if text and not self.closed:
            self.said.append(text)
            self.waiting.append(text)

    def is_complete(self) -> bool:
        return self.kind != "tool_use" or is_complete("".join(self.said))


class Lanes:
    """The blocks of one message."""

    def __init__(self, names: dict[str, str]) -> None:
        """Takes what the client calls its tools, by the names that were sent."""
        self._names = names
        self._lanes: list[_Lane] = []  # those that are not closed; the first one is open
        self._calls: list[_Lane] = []
        self._index = 0

    @property
    def has_calls(self) -> bool:
        """Whether tools are called."""
        return bool(self._calls)

    def say(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        """Events of a further piece of thinking or of text."""
        if not self._lanes or self._lanes[-1].kind != kind:
            signed = {"signature": ""} if kind == "thinking" else {}
            self._lanes.append(_Lane(kind, {"type": kind, kind: "", **signed}))
        self._lanes[-1].add(text)
        return self._advance()

    def call(self, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Events of a further piece of a call."""
        function = given.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        lane = self._lane_of(given, function)
        lane.add(arguments if isinstance(arguments, str) else "")
        return self._advance()

    def close(self) -> Iterator[dict[str, Any]]:
        """Events of everything that waited."""
        while self._lanes:
            yield from self._pass_on(self._lanes[0])
            yield from self._stop()

    def _lane_of(self, given: dict[str, Any], function: dict[str, Any]) -> _Lane:
        """The call that a piece belongs to: by its index; where that is missing or always the same, by id and name."""
        place, identifier, sent = given.get("index"), given.get("id"), function.get("name")
        identifier, sent = identifier if isinstance(identifier, str) else "", sent if isinstance(sent, str) else ""
        name = self._names.get(sent, sent)
        same = [lane for lane in self._calls if lane.place == place or not isinstance(place, int)]
        if same and not _is_another(same[-1], identifier, name):
            lane = same[-1]
            lane.start["name"] = lane.start["name"] or name
            return lane
        start = {"type": "tool_use", "id": call_id(identifier), "name": name, "input": {}}
        lane = _Lane("tool_use", start, place if isinstance(place, int) else None, identifier)
        self._lanes.append(lane)
        self._calls.append(lane)
        return lane

    def _advance(self) -> Iterator[dict[str, Any]]:
        while len(self._lanes) > 1 and self._lanes[0].is_complete():
            yield from self._pass_on(self._lanes[0])
            yield from self._stop()
        if self._lanes:
            yield from self._pass_on(self._lanes[0])

    def _pass_on(self, lane: _Lane) -> Iterator[dict[str, Any]]:
        if lane.kind == "tool_use" and not lane.start["name"] and not lane.is_complete():
            return  # its name is still to come
        if not lane.begun:
            lane.begun = True
            yield {"type": "content_block_start", "index": self._index, "content_block": lane.start}
        for text in lane.waiting:
            yield {"type": "content_block_delta", "index": self._index, "delta": _delta(lane.kind, text)}
        lane.waiting.clear()

    def _stop(self) -> Iterator[dict[str, Any]]:
        lane = self._lanes.pop(0)
        lane.closed = True
        if lane.kind == "thinking":
            delta = {"type": "signature_delta", "signature": own_signature()}
            yield {"type": "content_block_delta", "index": self._index, "delta": delta}
        yield {"type": "content_block_stop", "index": self._index}
        self._index += 1


def _is_another(lane: _Lane, identifier: str, name: str) -> bool:
    """Whether a piece with that id and name, either of which may be "", begins another call than that of `lane`."""
    if identifier and lane.identifier:
        return identifier != lane.identifier
    known = lane.start["name"]
    return bool(name and known) and (name != known or lane.is_complete())


def _delta(kind: str, text: str) -> dict[str, Any]:
    if kind == "tool_use":
        return {"type": "input_json_delta", "partial_json": text}
    return {"type": f"{kind}_delta", kind: text}
