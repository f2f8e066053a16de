"""Separates what a user wrote from what a client wrapped around it.

Coding agents and chat front ends send their own text with the user's role: reminders, the environment, rules, open
files, tool results as text, retrieved passages. Routing by that text routes the client, not the question. Three rules
find it, with the names and phrases of known clients in `envelope_names.py`:

    blocks     <system-reminder>...</system-reminder> on lines of their own: by name, or by a name of the usual build
               (<environment_details>, <open_and_recently_viewed_files>, <ideSelection>)
    headings   text that begins with a client's phrase, or ends in a client's section
    the asked  <user_query>...</user_query> and "## My request for ...": the rest of the turn is the client's

A block counts only where its opening tag begins a line or its closing tag ends one, so that a question about a tag is
kept. Two grades of text are left out: a client's own words never count; attachments (files, documents,
passages) count where a turn has nothing else.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.serve.protocols.envelope_names import (
    ANNOUNCES,
    ASKED,
    ATTACHED,
    BEGINNINGS,
    ENDING_SIGNS,
    ENDINGS,
    FILE_FENCE,
    FIRST,
    LAST,
    LINE_SIGNS,
    LINES,
    OWN,
    REQUEST,
    RETRIEVED,
    RULES_FILE,
    UNWRAPPED,
)

__all__ = ["Reading", "read_text"]

_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]*)(?:\s[^<>]*)?>")
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_LONGEST_NAME = 60


@quick_dataclass(frozen=True, slots=True)
class Reading:
    """The parts of one text.

    Attributes:
        asked: what the user wrote.
        attached: the same, with attachments.
        only: what a client marks as the whole question, if anything.
        announces: whether the next text is a tool's result.
        left_out: names of what was left out, in order.
    """

    asked: str
    attached: str
    only: str | None = None
    announces: bool = False
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Block:
    name: str
    grade: str
    start: int
    end: int
    inner: str

    def read(self, *, nested: bool) -> str:
        """The text within, without nested blocks."""
        if nested:
            return self.inner.strip()
        reading = read_text(self.inner, nested=True)
        return reading.only or reading.asked or reading.attached


def read_text(text: str, *, nested: bool = False) -> Reading:
    """Separates what a user asked in one text from what a client put around it.

    Args:
        nested: whether the text is from within a block, whose own blocks are not opened.
    """
    if found := BEGINNINGS.match(text):
        name = " ".join(found[0].split())[:40]
        return Reading("", text.strip(), announces=bool(ANNOUNCES.match(text)), left_out=(name,))
    text, left_out = _without_sections(text)
    asked = attached = text
    only = None
    if "<" in text:
        blocks = list(_blocks(text))
        left_out += [block.name for block in blocks if block.grade in ("own", "attached")]
        asked = _join(text, blocks, {"text"}, nested=nested)
        attached = _join(text, blocks, {"text", "attached"}, nested=nested)
        marked = [block.read(nested=nested) for block in blocks if block.grade == "asked"]
        only = "\n".join(marked) if marked else None
    if "```" in asked and (without := _without_files(asked)) != asked:
        asked, left_out = without, [*left_out, "file"]
    return Reading(asked.strip(), attached.strip(), only, left_out=tuple(left_out))


def _without_sections(text: str) -> tuple[str, list[str]]:
    left_out: list[str] = []
    if text.lstrip().startswith("#"):
        text, left_out = _after_headings(text)
    if any(map(text.__contains__, ENDING_SIGNS)) and (found := ENDINGS.search(text)):
        text = text[: found.start()]
        left_out.append(found[0].strip("# \n")[:40])
    if any(map(text.__contains__, LINE_SIGNS)) and (kept := LINES.sub("", text)) != text:
        text = kept
        left_out.append("client's lines")
    return text, left_out


def _after_headings(text: str) -> tuple[str, list[str]]:
    left_out: list[str] = []
    if found := RULES_FILE.match(text):
        text = text[found.end() :]
        left_out.append("rules file")
    if (found := RETRIEVED.match(text)) and text[found.end() :].strip():
        text = text[found.end() :]
        left_out.append("retrieved context")
    if (found := REQUEST.search(text)) and text[: found.start()].strip():
        text = text[found.end() :]
        left_out.append("headings before the request")
    return text, left_out


def _without_files(text: str) -> str:
    """`text` without fenced code whose fence names a file."""
    kept: list[str] = []
    start: int | None = None
    for line in text.split("\n"):
        if start is None and FILE_FENCE.match(line):
            start = len(kept)
        kept.append(line)
        if start is not None and len(kept) - 1 > start and line.rstrip() == "```":
            del kept[start:]
            start = None
    return "\n".join(kept)


def _join(text: str, blocks: Sequence[_Block], grades: Collection[str], *, nested: bool) -> str:
    """`text` with only its blocks of these grades."""
    pieces, at = [], 0
    for block in blocks:
        pieces.append(text[at : block.start])
        if block.grade in grades:
            pieces.append(block.read(nested=nested) if block.grade == "text" else text[block.start : block.end])
        at = block.end
    return "".join((*pieces, text[at:]))


def _blocks(text: str) -> Iterator[_Block]:
    """The outermost blocks of known names, in order."""
    at = 0
    for start, end, opening, closing in sorted(_pairs(text)):
        if start >= at and (grade := _grade(opening[2])) is not None:
            yield _Block(opening[2], grade, start, end, text[opening.end() : closing.start()])
            at = end


def _pairs(text: str) -> Iterator[tuple[int, int, re.Match[str], re.Match[str]]]:
    """Pairs of opening and closing tags: those at the beginning of a line first, then the innermost."""
    begun: dict[str, list[re.Match[str]]] = {}
    within: dict[str, list[re.Match[str]]] = {}
    last_end = 0
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        if not tag[1]:
            if _grade(tag[2]) is not None:
                (begun if _begins_line(text, tag.start(), last_end) else within).setdefault(name, []).append(tag)
            continue
        lines, inline = begun.get(name, []), within.get(name, [])
        if inline and "\n" not in text[inline[-1].end() : tag.start()] and not _is_after(lines, inline[-1]):
            opening = inline.pop()  # a mention, which a block around it does not end with
            if not _ends_line(text, tag.end()):
                continue
        elif lines:
            opening = lines.pop()
            while inline and inline[-1].start() > opening.start():
                inline.pop()
        elif inline and _ends_line(text, tag.end()):
            opening = inline.pop()
        else:
            continue
        last_end = tag.end()
        yield opening.start(), last_end, opening, tag


def _is_after(openings: Sequence[re.Match[str]], other: re.Match[str]) -> bool:
    return bool(openings) and openings[-1].start() > other.start()


def _begins_line(text: str, at: int, last_end: int) -> bool:
    """Whether only white space precedes it, on the line or since the last block."""
    while at > last_end and text[at - 1] in " \t":
        at -= 1
    return at in (0, last_end) or text[at - 1] == "\n"


def _ends_line(text: str, at: int) -> bool:
    while at < len(text) and text[at] in " \t\r":
        at += 1
    return at == len(text) or text[at] == "\n"


@lru_cache(maxsize=4096)
def _grade(name: str) -> str | None:
    """How text in a block of that name is treated.

    "text" as text, "asked" instead of everything else, "attached" only if there is nothing else, "own" never; None if
    the name is not a client's.
    """
    if len(name) > _LONGEST_NAME:
        return None
    words = [word.lower() for word in _WORDS.findall(name)]
    plain = "_".join(words)
    if plain in ASKED:
        return "asked"
    if plain in UNWRAPPED:
        return "text"
    if plain in OWN:
        return "own"
    if plain in ATTACHED or (len(words) > 1 and (words[-1] in LAST or words[0] in FIRST)):
        return "attached"
    return None
