"""Routers that ask a language model how well the weak model would do, from 1 to 5."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pointsman.core.arrays import FloatArray
from pointsman.core.router import Reading, Router

__all__ = ["SCORE_TOKENS", "TEMPLATE", "Readings", "ScoreRouter", "split_template"]

SCORE_TOKENS = ("[[1]]", "[[2]]", "[[3]]", "[[4]]", "[[5]]")
TEMPLATE = (
    "A small language model will answer the request below. How good will its answer be, from 1 (useless) to 5 (as good "
    "as that of a far larger model)?\n\nRequest:\n{prompt}\n\nScore: "
)
_SLOT = "{prompt}"


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """A model's readings of some prompts.

    Attributes:
        win_rates: in [0, 1], shape (n_prompts,); 1 where the model gave no valid score.
        reasons: why a reading is missing; None if it is not.
    """

    win_rates: FloatArray
    reasons: tuple[str | None, ...]


class ScoreRouter(Router):
    """win_rate = probability of a score below `score_threshold`; 1 (strong) where the model gives no valid score."""

    @abstractmethod
    def readings(self, prompts: Sequence[str]) -> Readings:
        """Win rates, with reasons for those that are not a reading but the fallback to strong."""

    def win_rates(self, prompts: Sequence[str]) -> FloatArray:
        return self.readings(prompts).win_rates

    def read(self, prompt: str) -> Reading:
        found = self.readings([prompt])
        return Reading(float(found.win_rates[0]), found.reasons[0] or "win_rate")


def split_template(template: str) -> tuple[str, str]:
    """A template's text before and after the prompt.

    Raises:
        ValueError: "{prompt}" does not occur exactly once.
    """
    before, *after = template.split(_SLOT)
    if len(after) != 1:
        raise ValueError(f"the template holds {_SLOT!r} {len(after)} times, wanted once: {template!r:.200}")
    return before, after[0]
