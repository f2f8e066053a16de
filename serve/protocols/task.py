"""What the user asked: the text by which a request is routed, read in the same way from all three APIs.

It is the last user turn, without what its client wrapped around it (`envelopes.py`), without tools' results, and
without a cached prefix that is followed by text. If that leaves nothing, or only words such as "go on", the task they
continue counts: the nearest earlier user turn that asks for something.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.serve.protocols.envelope_names import CONTINUES, FILLS
from pointsman.serve.protocols.envelopes import Reading, read_text

__all__ = ["TEXT_PARTS", "Task", "read_prompt", "read_task"]

TEXT_PARTS = ("text", "input_text")
_RESET = "I switched to a new code base"  # before it, a client shows examples of turns
_CHOICE = re.compile(r"(?:(?:option|choice|number|no\.?|#)\s*)?(?:\d{1,2}|[a-h])[.)]?", re.IGNORECASE)
_TYPED = re.compile(r"(?m)^<(?:feedback|user_message|answer)>")  # by the user, after a tool's result
_MAX_CONTINUATION = 60  # characters
_MOST_CHARACTERS = 1_000_000  # of a turn: of more its beginning and its end, more than any model reads
_WORD = re.compile(r"[^\W_]+")


@quick_dataclass(frozen=True, slots=True)
class Task:
    """What was asked.

    Attributes:
        text: the text to route by; "" if no turn has any.
        turn: index in `messages` or `input` of its turn; None if that is one text.
        turns_back: number of later user turns, which ask for nothing themselves.
        left_out: names of what else the turn contains.
    """

    text: str
    turn: int | None = None
    turns_back: int = 0
    left_out: tuple[str, ...] = ()


def read_prompt(text: str) -> Task:
    """The task in one text."""
    reading = read_text(text)
    return Task(reading.only or reading.asked or reading.attached, left_out=reading.left_out)


def read_task(document: Mapping[str, Any]) -> Task:
    """The task of a request to chat completions, Responses or messages; malformed parts are ignored."""
    turns = document.get("messages", document.get("input"))
    if isinstance(turns, str):
        return read_prompt(_shortened([(turns, False)])[0][0])
    if not isinstance(turns, list):
        return Task("")
    fallback: Task | None = None
    attached: Task | None = None
    back = 0
    for i in reversed(range(len(turns))):
        turn = turns[i]
        if not isinstance(turn, dict) or turn.get("role") != "user":
            continue
        texts = _shortened(_texts(turn.get("content")))
        if any(_RESET in text and text.lstrip().startswith(_RESET) for text, _ in texts):
            break
        asked, with_attached, left_out = _read_turn(texts)
        if asked and not _continues(asked):
            return Task(asked, i, back, left_out)
        if asked and fallback is None:
            fallback = Task(asked, i, back, left_out)
        elif with_attached and attached is None:
            attached = Task(with_attached, i, back, left_out)
        back += bool(texts)
    return fallback or attached or Task("")


def _shortened(texts: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """The texts of a turn; very long ones without their middles."""
    if sum([len(text) for text, _ in texts]) <= _MOST_CHARACTERS:
        return texts
    half = _MOST_CHARACTERS // (2 * len(texts))
    return [(text if len(text) <= 2 * half else text[:half] + text[len(text) - half :], at) for text, at in texts]


def _read_turn(texts: Sequence[tuple[str, bool]]) -> tuple[str, str, tuple[str, ...]]:
    """What one turn asks, the same with attachments, and what else it contains."""
    if len(texts) == 1:
        reading = read_text(texts[0][0])
        return reading.only or reading.asked, reading.only or reading.attached, reading.left_out
    readings: list[Reading] = []
    left_out: list[str] = []
    prefix = 0
    announced = False
    for text, cached in texts:
        reading = read_text(text)
        if announced and reading.only is None and not _TYPED.search(text):
            reading = Reading("", "", left_out=("tool result",))
        announced = reading.announces
        readings.append(reading)
        left_out += reading.left_out
        prefix = len(readings) if cached else prefix
    only = [reading.only for reading in readings if reading.only]
    if only:
        return "\n".join(only), "\n".join(only), tuple(left_out)
    if prefix < len(readings) and any(reading.asked for reading in readings[prefix:]):
        if any(reading.asked for reading in readings[:prefix]):
            left_out.append("cached prefix")
        readings = readings[prefix:]
    asked = "\n".join(reading.asked for reading in readings if reading.asked)
    attached = "\n".join(reading.attached for reading in readings if reading.attached)
    return asked, attached, tuple(left_out)


def _continues(text: str) -> bool:
    """Whether a text only continues instead of asking for something."""
    if len(text) > _MAX_CONTINUATION:
        return False
    if _CHOICE.fullmatch(text):
        return True
    words = [word.casefold() for word in _WORD.findall(text)]
    if not words:
        return True  # "?", "...", a thumb
    return any(word in CONTINUES for word in words) and all(word in CONTINUES or word in FILLS for word in words)


def _texts(content: object) -> list[tuple[str, bool]]:
    """The texts of a turn, and whether a cached prefix ends with each."""
    if isinstance(content, str):
        return [(content, False)]
    if not isinstance(content, list):
        return []
    return [
        (part["text"], part.get("cache_control") is not None)
        for part in content
        if isinstance(part, dict) and part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str)
    ]
