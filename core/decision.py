"""What a router decided for one prompt, and why."""

from dataclasses import asdict
from typing import Any

from pointsman.core.choice import Choice, Weighed
from pointsman.core.dollars import dollars
from pointsman.core.quick_dataclass import quick_dataclass

__all__ = ["Decision"]


@quick_dataclass(frozen=True, slots=True)
class Decision:
    """One routing decision.

    Attributes:
        model: name of the chosen model.
        win_rate: strong model's win rate in [0, 1]; None where no router was asked (pass-through) or it failed.
        threshold: strong iff win_rate >= threshold; None if none applied.
        router: name of the router that was asked; None for pass-through.
        reason: one word or phrase: "win_rate", "pass-through", "router failed: ...".
        candidates: names of the models that were weighed: of two the strong one first, of more in the order in which
            they are asked.
        policy: rule that set the threshold, e.g. "request", "fixed", "share", "budget"; None where none applied.
        weighed: of more than two candidates what was weighed of each, in that order; win_rate is then the mean over all
            but the reference.
        share: how far the expected bill goes from the cheapest candidate's (0) to the reference's (1); None where the
            choice was between two or none.
        rule: name of the configured rule that it follows, if any.
    """

    model: str
    win_rate: float | None
    threshold: float | None
    router: str | None
    reason: str
    candidates: tuple[str, ...]
    policy: str | None = None
    weighed: tuple[Weighed, ...] = ()
    share: float | None = None
    rule: str | None = None

    @property
    def why(self) -> str:
        """What the choice rests on, in a phrase: "win rate 0.6858 >= threshold 0.6594 (router mf)"."""
        if self.router is None or self.win_rate is None or self.threshold is None:
            return self.reason
        if self.weighed:
            return self._why_of_many()
        sign = ">=" if self.win_rate >= self.threshold else "<"
        compared = f"win rate {self.win_rate:.4f} {sign} threshold {self.threshold:.4f} (router {self.router})"
        return compared if self.reason == "win_rate" else f"{compared}, {self.reason}"

    @property
    def margin(self) -> float | None:
        """By how much, in win rate, the runner-up is worse; None where that is not known."""
        return Choice(self.weighed).margin if self.weighed else None

    def weighed_facts(self) -> list[dict[str, Any]]:
        """What was weighed of each of more than two candidates, as JSON types, in the order of the choice."""
        return [
            {
                "model": each.candidate.name,
                "win_rate": each.candidate.win_rate,
                "usd": each.candidate.usd,
                "relative_bill": each.relative_bill,
                "score": each.score,
            }
            for each in self.weighed
        ]

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON-ready types; fields of more than two candidates, or of a rule, only if they apply."""
        found = {**asdict(self), "candidates": list(self.candidates)}
        del found["weighed"], found["share"]
        if self.rule is None:
            del found["rule"]
        if not self.weighed:
            return found
        return {**found, "share": self.share, "margin": self.margin, "weighed": self.weighed_facts()}

    def _why_of_many(self) -> str:
        chosen = next((each for each in self.weighed if each.candidate.name == self.model), self.weighed[0])
        bill = "" if chosen.candidate.usd is None else f", about {dollars(chosen.candidate.usd)}"
        rate = "" if chosen.candidate.win_rate is None else f"win rate {chosen.candidate.win_rate:.4f} against it{bill}"
        ahead = "" if self.margin is None else f", {self.margin:.4f} ahead of the next of {len(self.weighed)}"
        compared = f"{rate}{ahead} at threshold {self.threshold:.4f} (router {self.router})"
        return compared if self.reason == "win_rate" else f"{compared}, {self.reason}"
