"""What serves now, as far as it matters to a certificate."""

from dataclasses import dataclass, field

from pointsman.core.pair import ModelPair

__all__ = ["Serving"]


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves now.

    Attributes:
        router: name of the router that the autopilot steers.
        identity: of its weights.
        checkpoint: name of its checkpoint; None where it has none.
        pair: the strong and the weak model.
        terms: digest of models, judge, bound, confidence and cascade.
        reads_answers: whether the weak model's answers are read, by a cascade, and not the prompts alone.
        bills: of more than two candidates each model with its relative bill, the reference first, see
            `core.ladder.fixed_bills`; a generation keeps those of its beginning.
        weak_cost: price of the weak model relative to the strong one's: reading costs as much of each request.
    """

    router: str
    identity: str
    checkpoint: str | None
    pair: ModelPair
    terms: str
    reads_answers: bool = False
    bills: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    weak_cost: float = field(default=0.0, compare=False)
