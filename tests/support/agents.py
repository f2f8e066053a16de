"""Requests in the shapes that agents and chat front ends send, with a prompt in the place of their user's."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["SHAPES", "Shape"]

_FOLDER = Path(__file__).parents[1] / "serve" / "protocols" / "fixtures"
_PLACE = "%PROMPT%"


@dataclass(frozen=True)
class Shape:
    """One recorded shape.

    Attributes:
        name: of the client and of what it does.
        api: "chat", "responses" or "messages".
        headers: that tell something of the client or the conversation.
        request: the body, its user's words left open.
    """

    name: str
    api: str
    headers: dict[str, str]
    request: dict[str, Any]

    def ask(self, prompt: str, *, model: str | None = None) -> dict[str, Any]:
        """The request in which its user says `prompt`."""
        filled = _fill(self.request, prompt)
        return filled if model is None else {**filled, "model": model}


def _fill(value: Any, prompt: str) -> Any:
    if isinstance(value, str):
        return value.replace(_PLACE, prompt)
    if isinstance(value, list):
        return [_fill(inner, prompt) for inner in value]
    return {key: _fill(inner, prompt) for key, inner in value.items()} if isinstance(value, dict) else value


SHAPES = {path.stem: Shape(path.stem, **json.loads(path.read_text("utf-8"))) for path in sorted(_FOLDER.glob("*.json"))}
