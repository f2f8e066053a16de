"""The distribution of the win rates that came last."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["NEVER_STRONG", "RecentWinRates"]

NEVER_STRONG = math.nextafter(1.0, 2.0)  # a threshold that no win rate reaches


class RecentWinRates:
    """The last `size` win rates of a router, and the thresholds that a share of them reaches.

    Before any has come, the quantiles of the router's calibration stand in for them; each new win rate takes the place
    of one of these, in an order that leaves their distribution as it is.
    """

    __slots__ = ("_arrived", "_ordered")

    def __init__(self, quantiles: Sequence[float] = (0.0, 1.0), *, size: int = 1024) -> None:
        """Takes `size` stand-ins from quantiles at evenly spaced probabilities.

        Raises:
            ValueError: there are fewer than two quantiles, they fall or leave [0, 1], or `size` is not positive.
        """
        falling = any(a > b for a, b in pairwise(quantiles))
        if len(quantiles) < 2 or falling or not 0.0 <= quantiles[0] <= quantiles[-1] <= 1.0:
            raise ValueError("quantiles must be at least two non-decreasing numbers in [0, 1]")
        if size < 1:
            raise ValueError(f"size is {size}, wanted at least 1")
        self._ordered = [_interpolated(quantiles, (i + 0.5) / size) for i in range(size)]
        stride = _stride(size)
        self._arrived = deque(self._ordered[i * stride % size] for i in range(size))

    def add(self, win_rate: float) -> None:
        """Adds a win rate in [0, 1], and drops the oldest."""
        self._ordered.pop(bisect_left(self._ordered, self._arrived.popleft()))
        self._arrived.append(win_rate)
        insort(self._ordered, win_rate)

    def threshold(self, strong_share: float) -> float:
        """Threshold that about `strong_share` of them reach: 0 for a share of 1, `NEVER_STRONG` for 0.

        Between them the (1 - strong_share) quantile, linearly interpolated. It never rises with the share.
        """
        if strong_share >= 1.0:
            return 0.0
        return _interpolated(self._ordered, 1.0 - strong_share) if strong_share > 0.0 else NEVER_STRONG

    def draw(self, probability: float) -> float:
        """Their quantile at `probability` in [0, 1]: at a uniform one, a win rate drawn from them."""
        return _interpolated(self._ordered, probability)

    def quantiles(self, n: int = 129) -> list[float]:
        """Their quantiles at `n` evenly spaced probabilities, to be stored and restored."""
        return [_interpolated(self._ordered, i / (n - 1)) for i in range(n)]


def _interpolated(ordered: Sequence[float], probability: float) -> float:
    place = probability * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return min(low + (place - below) * (high - low), high)


def _stride(size: int) -> int:
    """Step near the golden section of `size` that visits every place once."""
    stride = max(1, round(size * 0.6180339887498949))
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride
