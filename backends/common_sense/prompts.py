"""Prompts that are plainly easy or plainly hard, written by hand and from templates.

A template is a line: `[[a|b]]` takes one of its alternatives, `[[$name]]` one of a list in lists.txt, and both nest;
`⏎` is a new line. Lines that begin with `===` say what kind the templates below them are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

__all__ = ["Prompt", "held_out", "read_look", "read_prompts"]

_FOLDER = Path(__file__).parent
_FILES = {"easy.txt": 0.0, "other_languages_easy.txt": 0.0, "hard.txt": 1.0, "other_languages_hard.txt": 1.0}
_N_FOLDS, _HELD_OUT = 5, 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt.

    Attributes:
        text: what is asked.
        hard: 1 for a hard prompt, 0 for an easy one.
        template: the line it was made from.
        kind: what sort of request, or which language.
    """

    text: str
    hard: float
    template: str
    kind: str


def read_prompts(*, per_template: int, rng: np.random.Generator) -> list[Prompt]:
    """Different prompts of every template, at most `per_template` of each."""
    lists = _read_lists()
    found: list[Prompt] = []
    for name, hard in _FILES.items():
        for kind, template in _lines(name):
            texts = dict.fromkeys(_fill(template, lists, rng) for _ in range(4 * per_template))
            found += [Prompt(text, hard, template, kind) for text in list(texts)[:per_template]]
    return found


def read_look(name: str) -> list[Prompt]:
    """Prompts in another style, no templates, that nothing learns from: "second" or "third"."""
    return [Prompt(text, float(kind == "hard"), text, kind) for kind, text in _lines(f"{name}_look.txt")]


def held_out(prompt: Prompt) -> bool:
    """Whether its template is one of the fifth that nothing learns from."""
    return crc32(prompt.template.encode()) % _N_FOLDS == _HELD_OUT


def _fill(template: str, lists: dict[str, Sequence[str]], rng: np.random.Generator) -> str:
    """The template with every choice made, from the innermost out."""
    text = template
    while (end := text.find("]]")) >= 0:
        start = text.rindex("[[", 0, end)
        inner = text[start + 2 : end]
        choices = lists.get(inner, inner.split("|"))
        text = text[:start] + choices[int(rng.integers(len(choices)))] + text[end + 2 :]
    return text.replace("⏎", "\n")


def _lines(name: str) -> list[tuple[str, str]]:
    kind, found = "", []
    for line in (_FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("=== "):
            kind = line[4:]
        elif line:
            found.append((kind, line))
    return found


def _read_lists() -> dict[str, Sequence[str]]:
    lines = (_FOLDER / "lists.txt").read_text(encoding="utf-8").splitlines()
    return {
        f"${name}": values.strip().split(" | ") for name, _, values in (line.partition(": ") for line in lines if line)
    }
