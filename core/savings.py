"""How long the answers of one model would have been in all, where another one answered.

What routing saved is what the strong model would have charged, less what was paid. Of the first all is known but how
long its answers would have been. Two ways to tell, both with a bootstrap interval that holds the realised total, not
its expectation:

* `ratio_total`: from prompts that both answered. T = A (sum of b) / (sum of a), with A the total length of the answers
  that were given. Right whatever decided who answers, as long as the prompts with both are a random part of those.
* `regression_total`: from prompts that only the other one answered. Least squares of the length on features of the
  prompt, such as `length_features`; T = sum of the predictions. Right where, features being equal, the answer's length
  does not depend on who was chosen to give it.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["TotalEstimate", "length_features", "ratio_total", "regression_total"]

_MAX_BLOCKS = 1000  # the bootstrap draws blocks of rows where there are more rows
_MIN_ROWS = 3


@dataclass(frozen=True, slots=True)
class TotalEstimate:
    """An estimated total with the ends of its interval.

    Attributes:
        n_fit: rows that it was learnt from.
    """

    total: float
    low: float
    high: float
    n_fit: int


def length_features(input_tokens: FloatArray, win_rates: FloatArray) -> FloatArray:
    """What tells most of an answer's length before it is given: log(1 + i), its square and w, shape (n, 3).

    Without w the answers that a router gave away would be taken to be as long as those that it did not: prompts that
    are hard have longer answers. Without the square real prompts of many kinds are missed by some 8 %.

    Args:
        input_tokens, win_rates: i and w, shape (n,).
    """
    size = np.log1p(np.asarray(input_tokens, dtype=np.float64))
    return np.stack([size, size**2, np.asarray(win_rates, dtype=np.float64)], axis=1)


def ratio_total(
    answered: FloatArray,
    given: FloatArray,
    other: FloatArray,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_replicates: int = 2000,
) -> TotalEstimate:
    """Total of `other` over all answered prompts, from those where both are known.

    Args:
        answered: lengths of the answers that were given, shape (n,).
        given, other: lengths of both answers to the prompts that have both, shape (n_pairs,).

    Raises:
        ValueError: shapes differ, there are fewer than three pairs, a length is negative or not finite, or the given
            answers are all empty.
    """
    answered, given, other = (_lengths(values) for values in (answered, given, other))
    if given.shape != other.shape or given.size < _MIN_ROWS:
        shapes = f"{given.shape} and {other.shape}"
        raise ValueError(f"given and other have shapes {shapes}, wanted at least {_MIN_ROWS} pairs")
    if not given.sum() > 0:
        raise ValueError("the given answers are all empty: they have no ratio to the others")
    ratio, total = other.sum() / given.sum(), answered.sum()
    residual = other - ratio * given
    sums = _block_sums(np.stack([given, other], axis=1), rng)
    drawn = _draw_blocks(len(sums), n_replicates, rng) @ sums
    kept = drawn[drawn[:, 0] > 0]
    # a single answer's residual grows with the square root of its length, as a sum of many small ones does
    spread = float(np.sqrt((residual**2).sum() / given.sum() * total))
    return _estimate(ratio * total, kept[:, 1] / kept[:, 0] * total, spread, given.size, confidence, rng)


def regression_total(
    features: FloatArray,
    fit_features: FloatArray,
    fit_values: FloatArray,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_replicates: int = 2000,
) -> TotalEstimate:
    """Total over prompts with these features, from values that are known for others.

    Replicates are kept within the values that were seen, or up to the total: where features hardly vary in the fit,
    lines through them disagree without end far away.

    Args:
        features: shape (n, n_features); a constant is added.
        fit_features, fit_values: shapes (n_fit, n_features) and (n_fit,); a feature that is constant there is left out.

    Raises:
        ValueError: shapes do not fit, a value is not finite or a length negative, or there are no more rows to fit than
            coefficients.
    """
    values = _lengths(fit_values)
    features, fit_features = (np.asarray(f, dtype=np.float64) for f in (features, fit_features))
    if features.ndim != 2 or fit_features.shape != (values.size, features.shape[1]):
        raise ValueError(f"features have shapes {features.shape} and {fit_features.shape} for {values.size} values")
    if not (np.isfinite(features).all() and np.isfinite(fit_features).all()):
        raise ValueError("a feature is not finite")
    scale = fit_features.std(axis=0) if values.size else np.zeros(features.shape[1])
    used = scale > 1e-9 * (1.0 + np.abs(fit_features).max(axis=0, initial=0.0))
    if values.size < _MIN_ROWS + used.sum():
        raise ValueError(f"there are {values.size} rows to fit {1 + used.sum()} coefficients, wanted more")
    centre = fit_features.mean(axis=0)
    x = _with_constant(((fit_features - centre) / np.where(used, scale, 1.0))[:, used])
    wanted = _with_constant(((features - centre) / np.where(used, scale, 1.0))[:, used]).sum(axis=0)
    rows = np.concatenate([(x[:, :, None] * x[:, None, :]).reshape(len(x), -1), x * values[:, None]], axis=1)
    sums = _block_sums(rows, rng)
    drawn = np.concatenate([rows.sum(axis=0)[None, :], _draw_blocks(len(sums), n_replicates, rng) @ sums])
    k = x.shape[1]
    inverse = np.linalg.pinv(drawn[:, : k * k].reshape(-1, k, k), hermitian=True)
    solved = np.einsum("rij,rj->ri", inverse, drawn[:, k * k :])
    totals = solved @ wanted
    ends = len(features) * values.min(), len(features) * values.max()
    totals[1:] = np.clip(totals[1:], min(*ends, totals[0]), max(*ends, totals[0]))
    variance = ((values - x @ solved[0]) ** 2).sum() / (values.size - k)
    return _estimate(totals[0], totals[1:], float(np.sqrt(variance * len(features))), values.size, confidence, rng)


def _estimate(
    total: float, replicates: FloatArray, spread: float, n_fit: int, confidence: float, rng: np.random.Generator
) -> TotalEstimate:
    """The replicates tell how well the mean is known; `spread` how far the realised total strays from it."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, wanted a number in (0, 1)")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(replicates + spread * rng.standard_normal(len(replicates)), [tail, 1.0 - tail])
    return TotalEstimate(max(0.0, float(total)), max(0.0, float(low)), max(0.0, float(high)), n_fit)


def _block_sums(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Sums of rows over blocks drawn at random, at most 1,000; each row is a block where there are no more."""
    if len(rows) <= _MAX_BLOCKS:
        return rows
    order = rng.permutation(len(rows))
    starts = np.linspace(0, len(rows), _MAX_BLOCKS, endpoint=False).astype(np.int64)
    return np.asarray(np.add.reduceat(rows[order], starts, axis=0))


def _draw_blocks(n: int, n_replicates: int, rng: np.random.Generator) -> FloatArray:
    """How often each of n blocks was drawn in n draws with replacement, shape (n_replicates, n)."""
    return rng.multinomial(n, np.full(n, 1.0 / n), n_replicates).astype(np.float64)


def _with_constant(features: FloatArray) -> FloatArray:
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def _lengths(values: FloatArray) -> FloatArray:
    lengths = np.asarray(values, dtype=np.float64)
    if lengths.ndim != 1 or not np.isfinite(lengths).all() or (lengths < 0).any():
        raise ValueError("lengths must be one-dimensional, finite and not negative")
    return lengths
