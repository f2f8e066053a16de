"""Holds the live share of strong calls, whatever the traffic does.

The share that the recent win rates are asked for is the wanted one, plus `gain` for every strong call that is owed:

    threshold = quantile of the recent win rates at 1 - (target + gain * owed)
    owed      = sum over the prompts so far of (target - 1 if it went to strong else target)

The quantile follows the traffic, `owed` corrects what is left (an integral controller in the quantile's space; with a
fixed quantile function it is adaptive conformal inference, Gibbs and Candes 2021). Because a share of at least 1 is
always strong and one of at most 0 never, `owed` stays within (1 + 2 gain) / gain of itself for any traffic at all:

    |share of any n prompts in a row - target| <= (1 + 2 gain) / (gain n)
"""

from pointsman.core.recent import RecentWinRates

__all__ = ["GAIN", "ShareControl"]

GAIN = 0.04


class ShareControl:
    """The state of one share that is held.

    Attributes:
        target: wanted share of the prompts for the strong model, in [0, 1].
        owed: strong calls that are behind (positive) or ahead (negative) of it.
    """

    __slots__ = ("_high", "_low", "gain", "owed", "target")

    def __init__(
        self, target: float, *, gain: float = GAIN, at_least: bool = True, at_most: bool = True, owed: float = 0.0
    ) -> None:
        """Starts with nothing owed.

        Args:
            gain: added to the share for every strong call that is owed, in (0, 1].
            at_least, at_most: whether a lower and a higher share are made up for; a bound on one side keeps no
                account of the other.
            owed: what was owed when this was stored.

        Raises:
            ValueError: `target` leaves [0, 1] or `gain` leaves (0, 1].
        """
        if not 0.0 <= target <= 1.0:
            raise ValueError(f"target is {target}, wanted a share in [0, 1]")
        if not 0.0 < gain <= 1.0:
            raise ValueError(f"gain is {gain}, wanted a number in (0, 1]")
        self.target = target
        self.gain = gain
        # Anti-windup: beyond these the share is 0 or 1 already, and what could not be met is forgotten.
        self._low = -(target + gain) / gain if at_most else 0.0
        self._high = (1.0 - target + gain) / gain if at_least else 0.0
        self.owed = self._within(owed)

    def threshold(self, recent: RecentWinRates) -> float:
        """Threshold for the next prompt."""
        return recent.threshold(self.target + self.gain * self.owed)

    def count(self, *, strong: float) -> None:
        """Takes into account where a prompt went: strong 1, weak 0, of more candidates how far the bill went."""
        self.owed = self._within(self.owed + self.target - strong)

    @property
    def has_room(self) -> bool:
        """Whether a strong call that no win rate argues for keeps the share: none is ahead of it now."""
        return self.owed >= 0.0 and self.target > 0.0 if self._low < 0.0 else True

    def _within(self, owed: float) -> float:
        return min(max(owed, self._low), self._high)
