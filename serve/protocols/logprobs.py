"""Requests log-probabilities that the client did not ask for, and removes them from what the client gets."""

from collections.abc import Mapping
from typing import Any

from pointsman.serve.http.streams import ByteStream
from pointsman.serve.protocols.edit_json import add_members
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.read_json import read_json
from pointsman.serve.protocols.sse import event_data
from pointsman.serve.protocols.write_json import write_json

__all__ = ["WithoutLogprobs", "ask_for_logprobs", "hide_logprobs", "refuses_logprobs"]

_CHAT, _RESPONSES = "/chat/completions", "/responses"
_INCLUDED = "message.output_text.logprobs"
_WORDS = (b"logprobs", b"include")


def ask_for_logprobs(body: bytes, document: Mapping[str, Any], path: str) -> tuple[bytes, dict[str, Any]] | None:
    """Body and document that request them; None if the client does so itself, or the API has none.

    Args:
        body: a JSON object that is not empty.
        document: the same, parsed.
        path: of the API, below /v1.
    """
    if path == _CHAT:
        if document.get("logprobs") or document.get("top_logprobs"):
            return None
        added: dict[str, Any] = {"logprobs": True, "top_logprobs": 2}
    elif path == _RESPONSES:
        included = document.get("include") or []
        if not isinstance(included, list) or _INCLUDED in included or document.get("top_logprobs"):
            return None
        added = {"include": [*included, _INCLUDED], "top_logprobs": 2}
    else:
        return None
    changed = {**document, **added}
    if any(name in document for name in added):
        return write_json(changed), changed
    return add_members(body, added), changed


def refuses_logprobs(status: int, body: bytes) -> bool:
    """Whether a request may have been rejected because of them: it is then tried without them."""
    return status in (400, 404, 422, 501) and (any(word in body for word in _WORDS) or status in (400, 422))


def hide_logprobs(document: Mapping[str, Any]) -> bytes:
    """A whole answer without them, as JSON."""
    return write_json(_hidden(document))


class WithoutLogprobs:
    """A byte stream of complete events without log-probabilities."""

    def __init__(self, chunks: ByteStream) -> None:
        self._chunks = chunks

    def __aiter__(self) -> "WithoutLogprobs":
        return self

    async def __anext__(self) -> bytes:
        events = await self._chunks.__anext__()
        return await off_loop(len(events), hide_logprobs_in_events, events)

    async def aclose(self) -> None:
        await self._chunks.aclose()


def hide_logprobs_in_events(events: bytes) -> bytes:
    """Complete events of a stream without them. Events without any are kept byte by byte."""
    if b'logprobs"' not in events:
        return events
    pieces = []
    for block in _blocks(events):
        found = event_data(block)
        if b'logprobs"' not in block or len(found) != 1:
            pieces.append(block)
            continue
        try:
            event = read_json(found[0])
        except ValueError:
            pieces.append(block)
            continue
        lines = [line for line in block.split(b"\n") if line.strip() and not line.startswith(b"data:")]
        pieces.append(b"".join(line + b"\n" for line in lines) + b"data: " + write_json(_hidden(event)) + b"\n\n")
    return b"".join(pieces)


def _blocks(events: bytes) -> list[bytes]:
    plain = events.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [block + b"\n\n" for block in plain.split(b"\n\n") if block]


def _hidden(value: Any) -> Any:
    """`value` with every `logprobs` member as if not requested: null in a choice, an empty list elsewhere."""
    if isinstance(value, list):
        return [_hidden(part) for part in value]
    if not isinstance(value, dict):
        return value
    found = {name: _hidden(part) for name, part in value.items() if name != "logprobs"}
    if "logprobs" in value:
        found["logprobs"] = [] if isinstance(value["logprobs"], list) else None
    if found.get("top_logprobs") == 2 and found.get("object") == "response":
        found["top_logprobs"] = 0
    return found
