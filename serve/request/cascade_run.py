"""One request's cascade: planned by the pipeline, filled in while models answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CascadeRun", "Stage"]

_SCORED = ("verifier", "certified")


@dataclass(frozen=True, slots=True)
class Stage:
    """One model's answer and the verdict on it.

    Attributes:
        model: who answered.
        verdict: "accepted", "escalated" or "failed"; "answered" for the last model, which is not checked.
        reason: "verifier", "certified" (the autopilot's threshold), the name of the check that it failed, "checker",
            "unread", or how the model failed.
        win_rate: strong model's, given this answer; None where no verifier read it.
        seconds: from the call to the verdict.
    """

    model: str
    verdict: str
    reason: str
    win_rate: float | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.verdict == "answered":
            return self.model
        shown = f"{self.win_rate:.2f}" if self.win_rate is not None and self.reason in _SCORED else self.reason
        return f"{self.model}:{self.verdict}({shown})"


@dataclass(slots=True)
class CascadeRun:
    """One request's cascade.

    Attributes:
        models: in the order in which they are asked.
        look: the plan by the prompt: "cascade" (the verifier reads the answer), "weak" (surely easy) and "checks" (no
            verifier: only the free checks), or "strong" (surely hard: no cascade).
        threshold: an answer is good enough iff its win rate is below; None without a verifier.
        prompt_win_rate: from the prompt alone, on the verifier's scale.
        expected_escalation: share of such prompts that are escalated.
        stages: the models asked so far, with their verdicts.
        answered_by: the model whose answer the client got; None until that is known.
        certified: maps the score of the first answer to the value that the threshold is compared with, if the autopilot
            certifies the cascade; else None.
        score: of the first answer, if it is certified and has been read.
    """

    models: tuple[str, ...]
    look: str
    threshold: float | None = None
    prompt_win_rate: float | None = None
    expected_escalation: float | None = None
    stages: list[Stage] = field(default_factory=list)
    answered_by: str | None = None
    certified: Callable[[float], float] | None = None
    score: float | None = None

    @property
    def runs(self) -> bool:
        """Whether an answer is read before it is returned."""
        return self.look != "strong" and len(self.models) > 1

    @property
    def escalated(self) -> bool:
        """Whether another model was asked after an answer."""
        return any(stage.verdict == "escalated" for stage in self.stages)

    def header(self) -> str:
        """The summary for clients, e.g. "small:escalated(0.41) big"; "" before anything has happened."""
        return " ".join(map(str, self.stages))

    def to_dict(self) -> dict[str, Any]:
        """The plan and its outcome, as JSON-ready types."""
        return {
            "runs": self.runs,
            "models": list(self.models),
            "look": self.look,
            "threshold": self.threshold,
            "prompt_win_rate": self.prompt_win_rate,
            "expected_escalation": self.expected_escalation,
            **({"stages": [str(stage) for stage in self.stages]} if self.stages else {}),
        }
