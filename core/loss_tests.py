"""Tests that an expected loss is below a bound, valid at every sample size and for every distribution.

Losses are L in [-1, 1]; the hypothesis that a small p-value refutes is E[L] >= max_loss.

Ternary losses (-1, 0, 1: both models are right or wrong) get an exact test. Let q = P(L != 0). With q given, the worst
case has E[L] = max_loss, and L + 1 is then the sum of two independent Bernoulli variables if q <= 1/2, so that the sum
of losses is a sum of two binomials (the roots a, b below), whose mode is within one of its mean (Darroch 1964). Hence
P(sum <= s) grows with q as long as s lies left of the mode, and an upper confidence bound for q gives a valid p-value
at the price of that bound's error (Berger and Boos 1994).

Graded losses get the betting test of Waudby-Smith and Ramdas (2024): the wealth of a gambler who bets, loss after loss,
on the mean being below the bound cannot be expected to grow unless it is.
"""

import math

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.binomial import binomial_pmf, log_factorials, upper_bound

__all__ = ["TernaryTest", "betting_p_value"]

_NUISANCE_SHARE = 0.05
_MAX_BET = 0.99


class TernaryTest:
    """Exact test for n losses in {-1, 0, 1}.

    Args:
        n: number of losses.
        max_loss: the bound, in (0, 1).
        error: level that p-values will be compared with; a twentieth of it is spent on bounding q.
    """

    def __init__(self, n: int, max_loss: float, error: float) -> None:
        self.n = n
        self.max_loss = max_loss
        self._nuisance_error = _NUISANCE_SHARE * error
        self._log_factorials = log_factorials(n)
        self._q_bounds: dict[int, float] = {}

    def p_value(self, total: float, n_nonzero: float) -> float:
        """p-value for a sum of losses `total`, of which `n_nonzero` are not 0. Rises with both."""
        if total > math.floor((self.n - 1) * self.max_loss) - 1:
            return 1.0
        q = self._q_bound(int(n_nonzero))
        if q > 0.5:
            return 1.0
        return min(1.0, self._tail(int(total), q) + self._nuisance_error)

    def _q_bound(self, n_nonzero: int) -> float:
        if n_nonzero not in self._q_bounds:
            self._q_bounds[n_nonzero] = upper_bound(n_nonzero, self._log_factorials, self._nuisance_error)
        return self._q_bounds[n_nonzero]

    def _tail(self, total: int, q: float) -> float:
        """P(sum of losses <= total) where E[L] = max_loss and P(L != 0) = q."""
        if q <= self.max_loss:  # E[L] cannot reach max_loss
            return 0.0
        mean, product = 1.0 + self.max_loss, (q + self.max_loss) / 2.0
        a = (mean + math.sqrt(mean * mean - 4.0 * product)) / 2.0
        b = product / a
        below = np.concatenate(([0.0], np.cumsum(binomial_pmf(b, self._log_factorials))))
        room = np.clip(total + self.n - np.arange(self.n + 1), -1, self.n)
        return float(binomial_pmf(a, self._log_factorials) @ below[room + 1])


def betting_p_value(losses: FloatArray, max_loss: float, *, error: float) -> float:
    """p-value 1 / max_k W_k for losses in [-1, 1], W_k = prod_{i<=k} (1 + bet_i (max_loss - L_i)).

    A bet may depend on earlier losses only: bet_i = sqrt(2 log(1 / error) / (n variance_{i-1})), capped so that wealth
    stays positive. Valid for any order of the losses that was fixed beforehand.

    Args:
        losses: shape (n,).
        max_loss: the bound, in (0, 1).
        error: level that the p-value will be compared with; the bets are tuned to it.
    """
    count = np.arange(1, len(losses) + 1)
    mean = np.cumsum(losses) / (1.0 + count)
    variance = (1.0 + np.cumsum((losses - mean) ** 2)) / (1.0 + count)
    before = np.concatenate(([1.0], variance[:-1]))
    bets = np.minimum(np.sqrt(2.0 * math.log(1.0 / error) / (len(losses) * before)), _MAX_BET / (1.0 - max_loss))
    log_wealth = np.cumsum(np.log1p(bets * (max_loss - losses)))
    return float(np.exp(-max(0.0, log_wealth.max(initial=0.0))))
