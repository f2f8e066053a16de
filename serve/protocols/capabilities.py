"""The capabilities that a request needs: tools, images, audio, video, files."""

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.serve.protocols.long_documents import walks_request

__all__ = ["find_needs"]

_PARTS = {
    "image": "images",
    "image_url": "images",
    "input_image": "images",
    "audio": "audio",
    "input_audio": "audio",
    "audio_url": "audio",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
    "file": "files",
    "input_file": "files",
    "document": "files",
}
_INSIDE = ("content", "output")  # of messages, tool results and other items


@walks_request
def find_needs(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Capabilities that a request of any API needs, sorted.

    Tools if it offers any (or functions, their old name); images, audio, video and files if a part of a
    message, an input item or a tool's result is one; audio also if the answer should be audio.
    """
    needs = {"tools"} if document.get("tools") or document.get("functions") else set()
    modalities = document.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        needs.add("audio")
    waiting = [value for key in ("messages", "input", "system") if isinstance(value := document.get(key), list)]
    while waiting:
        _look_at(waiting.pop(), needs, waiting)
    return tuple(sorted(needs))


def _look_at(parts: Sequence[Any], needs: set[str], waiting: list[Any]) -> None:
    for part in parts:
        if isinstance(part, dict):
            kind = part.get("type")
            if isinstance(kind, str) and kind in _PARTS:
                needs.add(_PARTS[kind])
            for key in _INSIDE:
                if isinstance(inner := part.get(key), list):
                    waiting.append(inner)
