"""A block of a message while it is streamed."""

from typing import Any

from pointsman.serve.protocols.translation.read import Document
from pointsman.serve.protocols.translation.tools import arguments_object

__all__ = ["OpenBlock"]

_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("input", "partial_json"),
}


class OpenBlock:
    """One block.

    Attributes:
        block: as it began.
        kind: its type.
        place: where its translation is in the answer.
    """

    __slots__ = ("_pieces", "block", "kind", "place")

    def __init__(self, block: Document) -> None:
        self.block = block
        self.kind = block.get("type")
        self.place = 0
        self._pieces: dict[str, list[str]] = {}

    def add(self, delta: Document) -> tuple[str, str]:
        """The kind of a delta, and what it adds; ("", "") if unknown."""
        kind, key = _DELTAS.get(str(delta.get("type")), ("", ""))
        text = delta.get(key)
        if not kind or not isinstance(text, str):
            return "", ""
        self._pieces.setdefault(kind, []).append(text)
        return kind, text

    def has_input(self) -> bool:
        """Whether arguments have arrived in pieces."""
        return bool(self.said("input"))

    def said(self, kind: str) -> str:
        """All pieces of a kind so far, joined."""
        return "".join(self._pieces.get(kind, ()))

    def whole(self) -> dict[str, Any]:
        """The block as in a whole answer."""
        block = dict(self.block)
        for key in ("text", "thinking", "signature"):
            if key in self._pieces:
                block[key] = str(block.get(key) or "") + self.said(key)
        if self.has_input():
            block["input"] = arguments_object(self.said("input"))
        return block
