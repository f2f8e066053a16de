"""What people read for the models that are routed among: of two their parts, strong and weak; of more their names."""

from dataclasses import dataclass

from pointsman.core.pair import ModelPair

__all__ = ["Roles"]


@dataclass(frozen=True, slots=True)
class Roles:
    """Words for sentences about the candidates.

    Attributes:
        candidates: their names, the reference first.
        pair: the reference and the cheapest of them.
    """

    candidates: tuple[str, ...]
    pair: ModelPair

    @property
    def many(self) -> bool:
        """Whether there are more than two."""
        return len(self.candidates) > 2

    @property
    def reference(self) -> str:
        """Whose quality the others are measured against: "the strong model", or its name."""
        return self.pair.strong if self.many else "the strong model"

    @property
    def cheapest(self) -> str:
        """The cheapest one: "the weak model", or its name."""
        return self.pair.weak if self.many else "the weak model"

    @property
    def others(self) -> str:
        """All but the reference: "the weak model", or "cheaper candidates"."""
        return "cheaper candidates" if self.many else "the weak model"

    @property
    def share(self) -> str:
        """What a share is of: "strong share", or "share of spending"."""
        return "share of spending" if self.many else "strong share"

    def at_share(self, part: str) -> str:
        """A share in words: "80 % to strong", or "80 % of the way from small's bill to big's"."""
        return (
            f"{part} of the way from {self.cheapest}'s bill to {self.reference}'s" if self.many else f"{part} to strong"
        )

    @property
    def options(self) -> str:
        """As options of a command: "--strong big --weak small", or "--candidates big,middle,small"."""
        if self.many:
            return f"--candidates {','.join(self.candidates)}"
        return f"--strong {self.pair.strong} --weak {self.pair.weak}"
