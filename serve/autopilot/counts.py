"""What a process has seen of requests and comparisons."""

from dataclasses import asdict, dataclass

__all__ = ["Counts"]


@dataclass(slots=True)
class Counts:
    """What a process has seen since its last report.

    Attributes:
        n_requests: under the certificate's threshold; n_weak of them were answered by the weak model.
        saved_usd: against asking the strong model for as many tokens; n_unpriced of them could not be priced.
        n_failed: comparisons that failed; n_over_budget, n_busy: that were not made.
        n_read, read_usd: weak answers that were asked for only to be read, and their dollars.
        failed_usd: what was paid for comparisons that came to nothing.
    """

    n_requests: int = 0
    n_weak: int = 0
    saved_usd: float = 0.0
    n_unpriced: int = 0
    n_failed: int = 0
    n_over_budget: int = 0
    n_busy: int = 0
    n_read: int = 0
    read_usd: float = 0.0
    failed_usd: float = 0.0

    @property
    def without_row_usd(self) -> float:
        """Dollars of comparing that no comparison's row holds."""
        return self.read_usd + self.failed_usd

    def add(self, other: "Counts") -> None:
        """Adds another's."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)
