"""Whether live values are still drawn like a reference: a sequential test with a bound on its rate of false alarms.

Each value is ranked among the reference and all live values before it, ties broken at random:

    p_n = (#{i < n: x_i < x_n} + U_n (1 + #{i < n: x_i = x_n})) / n          i runs over the reference, too

If reference and live values are exchangeable (drawn alike, in any order), p_1, p_2, ... are independent and uniform on
[0, 1], whatever the distribution and however small the reference (Vovk, Gammerman and Shafer 2005). A bet on p is a
density g >= 0 with mean 1 over [0, 1]; against a shift that may begin at any time j,

    R_n = (R_{n-1} + 1) g(p_n) = sum_{j<=n} prod_{j<=i<=n} g(p_i),  R_0 = 0             (Shiryaev, Roberts)

Then R_n - n is a martingale and R_n a submartingale of mean n, and by Doob's inequality

    P(max_{n<=N} R_n >= c) <= N / c

This holds for the mean of several R with different bets on the same ranks, too. With T tests beside each other and
c = T x 10,000 / alpha, the probability that any of them raises a false alarm among the first n prompts is at most
alpha x n / 10,000, for every n.
"""

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["HORIZON", "ShiftTest", "alarm_level"]

HORIZON = 10_000
_BLOCK = 64
_N_CELLS = _BLOCK * _BLOCK  # values in one cell are ties: that costs power below the width of a cell, not validity
_N_RANKS = 1024
_TILTS = (1.0, 2.0, 4.0, 8.0)


def alarm_level(false_alarm_rate: float, *, n_tests: int = 1) -> float:
    """Evidence c at which a test raises its alarm: n_tests x 10,000 / false_alarm_rate.

    Args:
        false_alarm_rate: of all the tests together, per 10,000 prompts, in (0, 1].
        n_tests: how many run beside each other, at least 1.

    Raises:
        ValueError: an argument leaves its range.
    """
    if not 0.0 < false_alarm_rate <= 1.0 or n_tests < 1:
        raise ValueError(
            f"false_alarm_rate is {false_alarm_rate}, n_tests {n_tests}: wanted a rate in (0, 1], at least one test"
        )
    return n_tests * HORIZON / false_alarm_rate


class ShiftTest:
    """Bets that live values rank higher, lower, further out or further in than those before them.

    Attributes:
        evidence: the mean R of all bets; 0 at the start, n on average after n values without a shift.
        n_live: how many live values were seen.
    """

    def __init__(self, reference: FloatArray, *, upper: float, rng: np.random.Generator) -> None:
        """Starts from a reference.

        Args:
            reference: values in [0, upper], shape (n,); may be empty: then live values are tested against each other.
            upper: end of the range of the values.
            rng: breaks ties.

        Raises:
            ValueError: a value of the reference leaves its range.
        """
        values = np.asarray(reference, dtype=np.float64)
        if values.ndim != 1 or not ((values >= 0) & (values <= upper)).all():
            raise ValueError(f"reference has shape {values.shape}, wanted (n,) numbers in [0, {upper:g}]")
        self._scale = _N_CELLS / upper
        cells = np.minimum(values * self._scale, _N_CELLS - 1).astype(np.int64)
        counts = np.bincount(cells, minlength=_N_CELLS)
        self._counts: list[int] = counts.tolist()
        self._blocks: list[int] = counts.reshape(-1, _BLOCK).sum(axis=1).tolist()
        self._n_ranked = values.size
        self._rng = rng
        self._bets = _bets()
        self._sums = np.zeros(self._bets.shape[1])
        self.n_live = 0
        self.evidence = 0.0

    def rank(self, value: float) -> float:
        """Smoothed rank p of a value among all before it, which it then joins: in [0, 1).

        Raises:
            ValueError: `value` leaves [0, upper].
        """
        if not 0.0 <= value * self._scale <= _N_CELLS:
            raise ValueError(f"value is {value}, wanted a number in [0, {_N_CELLS / self._scale:g}]")
        cell = min(int(value * self._scale), _N_CELLS - 1)
        block = cell // _BLOCK
        self._n_ranked += 1
        self._counts[cell] += 1
        self._blocks[block] += 1
        below = sum(self._blocks[:block]) + sum(self._counts[block * _BLOCK : cell])
        return (below + self._rng.random() * self._counts[cell]) / self._n_ranked

    def update(self, value: float) -> float:
        """Takes one live value and returns the evidence; see `rank` for errors."""
        rank = self.rank(value)
        self.n_live += 1
        self._sums = (self._sums + 1.0) * self._bets[min(int(rank * _N_RANKS), _N_RANKS - 1)]
        self.evidence = float(self._sums.sum()) / self._sums.size
        return self.evidence


def _bets() -> FloatArray:
    """Densities over cells of p, each of mean exactly 1, shape (n_ranks, n_bets): exp(tilt x s) for statistics s."""
    p = (np.arange(_N_RANKS) + 0.5) / _N_RANKS
    outward = np.abs(2.0 * p - 1.0)
    bets = np.stack([np.exp(tilt * s) for tilt in _TILTS for s in (p, 1.0 - p, outward, 1.0 - outward)], axis=1)
    return np.asarray(bets / bets.mean(axis=0))
