"""The share of recent requests that went to the strong model."""

from collections import deque

__all__ = ["LiveShare"]

_WINDOWS = (100, 1000)


class LiveShare:
    """Where the last thousand requests went.

    Attributes:
        n_requests: number of requests so far.
    """

    __slots__ = ("_last", "n_requests")

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_WINDOWS[-1])
        self.n_requests = 0

    def count(self, *, strong: float) -> None:
        """One more request: strong 1, weak 0, of more candidates how far its bill went from the cheapest's."""
        self._last.append(strong)
        self.n_requests += 1

    def shares(self) -> dict[str, float | None]:
        """Share of strong calls among the last 100 and the last 1000; None before the first."""
        last = list(self._last)
        return {str(n): sum(last[-n:]) / len(last[-n:]) if last else None for n in _WINDOWS}
