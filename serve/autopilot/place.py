"""Where a request stands on the chains of the generations that run, and so whether it is compared."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from pointsman.core.arrays import Float32Array
from pointsman.core.autopilot import JointPlan
from pointsman.core.ladder import Rung, draw_rung
from pointsman.serve.autopilot.generation import Generation

__all__ = ["Begins", "Place", "Prompt", "Running", "place_of"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is scored: a prompt before it is answered, or of a cascade when the weak model's answer has been read.

    Attributes:
        win_rate: the router's, or the score of the weak answer.
        win_rates: of more than two candidates the reference's over each; None for a pair.
    """

    win_rate: float
    n_characters: int
    embedding: Float32Array | None
    win_rates: tuple[float, ...] | None = None

    def score(self, generation: Generation) -> float:
        """By a generation; that of a prompt that goes to strong whatever is certified, where it cannot be told."""
        found = generation.score(self.win_rate, self.n_characters, self.embedding)
        return 1.0 if found is None else found

    def begins(self, generation: Generation) -> "Begins":
        """What a chain is made of: the score, or of more than two candidates where each rung begins."""
        if not generation.bills:
            return self.score(generation)
        return tuple([rung.since for rung in generation.rungs(self.win_rates, self.n_characters, self.embedding)])


Begins: TypeAlias = float | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Running:
    """A generation with a chain, as draws need it."""

    generation: Generation
    thresholds: list[float]

    def cell(self, score: float) -> int:
        return bisect_right(self.thresholds, score)


class Place(NamedTuple):
    """Of a request that is compared: its scores, the probability, and of more than two who is compared until where.

    A generation that never chooses the candidate has the score and the end 1.
    """

    scores: tuple[float, ...]
    probability: float
    candidate: str | None = None
    untils: tuple[float, ...] = ()


def place_of(prompt: Prompt, running: Sequence[Running], plan: JointPlan, level: float) -> Place | None:
    """Where a prompt stands, if it is compared; `level` is uniform in [0, 1)."""
    if running[0].generation.bills:
        return _candidate_place(prompt, running, plan, level)
    scores = [prompt.score(each.generation) for each in running]
    probability = plan.probability([each.cell(score) for each, score in zip(running, scores, strict=True)])
    return Place(tuple(scores), probability) if level < probability else None


def _candidate_place(prompt: Prompt, running: Sequence[Running], plan: JointPlan, level: float) -> Place | None:
    """Likewise of more than two candidates, of whom one is drawn."""
    ladders, cells = list[dict[int, Rung]](), list[dict[int, int]]()
    for each in running:
        rungs = each.generation.rungs(prompt.win_rates, prompt.n_characters, prompt.embedding)
        ladders.append({rung.candidate: rung for rung in rungs})
        within = {rung.candidate: each.cell(rung.since) for rung in rungs}
        cells.append({candidate: cell for candidate, cell in within.items() if cell < len(each.thresholds)})
    generation = running[0].generation
    if (found := draw_rung(plan.of_rungs(cells, generation.most), level)) is None:
        return None
    candidate, probability = found
    mine = [ladder.get(candidate, Rung(candidate, 1.0)) for ladder in ladders]
    sinces, untils = tuple([rung.since for rung in mine]), tuple([rung.until for rung in mine])
    return Place(sinces, probability, generation.bills[candidate][0], untils)
