"""Binomial probabilities, exact in float64."""

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["binomial_pmf", "log_factorials", "upper_bound"]

_PRECISION = 1e-10


def log_factorials(n: int) -> FloatArray:
    """log k! for k = 0 .. n, shape (n + 1,)."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1, dtype=np.float64)))))


def binomial_pmf(p: float, log_factorial: FloatArray) -> FloatArray:
    """P(K = k) for k = 0 .. n and K ~ Binomial(n, p), shape (n + 1,).

    Args:
        p: in [0, 1].
        log_factorial: `log_factorials(n)`.
    """
    n = len(log_factorial) - 1
    if p <= 0.0 or p >= 1.0:
        pmf = np.zeros(n + 1)
        pmf[0 if p <= 0.0 else n] = 1.0
        return pmf
    k = np.arange(n + 1)
    choices = log_factorial[n] - log_factorial - log_factorial[::-1]
    return np.asarray(np.exp(choices + k * np.log(p) + (n - k) * np.log1p(-p)))


def upper_bound(successes: int, log_factorial: FloatArray, error: float) -> float:
    """Clopper-Pearson upper bound: the p at which P(K <= successes) = error, for K ~ Binomial(n, p).

    Rounded up by at most one part in 10^10, so that the bound holds.

    Args:
        successes: 0 .. n.
        log_factorial: `log_factorials(n)`.
        error: probability with which the bound may fail, in (0, 1).
    """
    n = len(log_factorial) - 1
    if successes >= n:
        return 1.0
    k = np.arange(successes + 1)
    choices = log_factorial[n] - log_factorial[: successes + 1] - log_factorial[n - k]
    low, high = successes / n, 1.0
    while high - low > _PRECISION * high:
        p = (low + high) / 2.0
        below = np.exp(choices + k * np.log(p) + (n - k) * np.log1p(-p)).sum()
        low, high = (p, high) if below > error else (low, p)
    return high
