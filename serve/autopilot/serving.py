"""What serves now, as far as it matters to a certificate."""

from dataclasses import dataclass

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
        terms: digest of models, judge, bound and confidence.
    """

    router: str
    identity: str
    checkpoint: str | None
    pair: ModelPair
    terms: str
