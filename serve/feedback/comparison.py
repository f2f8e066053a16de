"""What a comparison of two models' answers consists of."""

from dataclasses import dataclass

from pointsman.serve.store.rows import ComparisonRow
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["Compared", "Other"]


@dataclass(frozen=True, slots=True)
class Other:
    """What the other model of a pair answered to a sample's request.

    Attributes:
        answer: its text.
        attempt: how it came.
        n_tokens: of the answer.
    """

    answer: str
    attempt: Attempt
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison that was made.

    Attributes:
        row: for the store.
        agreed: whether the judge said the same in both orders, or was not asked.
        share: of the win that goes to `model_a`, in [0, 1]; the row has it rounded to 0, 0.5 or 1.
        other: what the other model said, `model_b`.
        answer: what `model_a` said.
    """

    row: ComparisonRow
    agreed: bool
    share: float
    other: Other
    answer: str
