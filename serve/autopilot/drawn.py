"""A request that was drawn for comparison, and the row that it makes."""

from dataclasses import dataclass, field
from typing import Any

from pointsman.core.autopilot import JointPlan
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot.place import Place, Prompt, Running
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.store.rows import AutopilotRow, clean_text

__all__ = ["Drawn", "make_row"]


@dataclass(slots=True)
class Drawn:
    """A request that was drawn, with what its row needs.

    Attributes:
        plan: in force when it was drawn; None of a request whose answer is read for a chain that is still to be made.
        level: uniform in [0, 1): it is compared iff this is below the probability of its cells.
        prompt: None until the weak answer has been read.
        other: the answer that it is compared with; None until it has been asked for.
        place: None until it is known, or where it is not compared.
        was_read: its weak answer was asked for to be read; `only_read` if nothing else came of it.
        charges: what was paid for it.
    """

    sample: Sample
    running: tuple[Running, ...]
    plan: JointPlan | None
    level: float
    n_undrawn: int
    wants_label: bool
    label_share: float
    prompt: Prompt | None
    other: Other | None
    place: Place | None = None
    was_read: bool = False
    only_read: bool = False
    charges: list[Charge] = field(default_factory=list)

    @property
    def usd(self) -> float:
        """Dollars of it."""
        return sum(charge.cost_usd or 0.0 for charge in self.charges)


def make_row(drawn: Drawn, compared: Compared, pair: ModelPair) -> AutopilotRow:
    """Its row for the store."""
    plans = [g.generation.plan for g in drawn.running]
    told = [(plan.reach, plan.inside, plan.outside) for plan in plans if plan is not None]
    assert drawn.prompt is not None and drawn.place is not None  # it is compared
    place = drawn.place
    beside: list[tuple[Any, ...]] = [
        (each.generation.number, score, *plan)
        for each, score, plan in zip(drawn.running[1:], place.scores[1:], told[1:], strict=True)
    ]
    if place.untils:
        beside = [(*each, until) for each, until in zip(beside, place.untils[1:], strict=True)]
    embedding = drawn.prompt.embedding
    return AutopilotRow(
        id=compared.row.id,
        at=compared.row.at,
        generation=drawn.running[0].generation.number,
        score=place.scores[0],
        loss=_loss(compared, pair),
        probability=place.probability,
        n_undrawn=drawn.n_undrawn,
        plan=told[0],
        agreed=compared.agreed,
        cost_usd=compared.row.cost_usd or 0.0,
        embedding=None if embedding is None else embedding.astype("<f4", copy=False).tobytes(),
        others=tuple(beside),
        win_rate=drawn.prompt.win_rate,
        n_characters=drawn.prompt.n_characters,
        label_share=drawn.label_share,
        wants_label=int(drawn.wants_label),
        shown=_shown(drawn.sample, compared, pair) if drawn.wants_label else None,
        until=place.untils[0] if place.untils else None,
        candidate=place.candidate,
        win_rates=drawn.prompt.win_rates or (),
    )


def _shown(sample: Sample, compared: Compared, pair: ModelPair) -> dict[str, str]:
    """What people are asked about; see `labels.py`."""
    strong, weak = compared.answer, compared.other.answer
    if compared.row.model_a != pair.strong:
        strong, weak = weak, strong
    texts = {"question": sample.question, "strong": strong, "weak": weak}
    return {"request_id": sample.request_id, **{name: clean_text(text) for name, text in texts.items()}}


def _loss(compared: Compared, pair: ModelPair) -> float:
    """Strong's score less weak's: 1 where the strong answer won, 0 for a tie, -1 where it lost."""
    won = 2.0 * compared.share - 1.0
    return won if compared.row.model_a == pair.strong else -won
