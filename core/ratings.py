"""Bradley-Terry ratings from a weighted win table.

    P(i beats j) = sigmoid(r_i - r_j);  log-likelihood = sum_ij wins_ij log sigmoid(r_i - r_j)

A tie is half a win for each. The likelihood is concave and Newton's method solves it to rounding; its cost depends on
the number of models, not of battles. Two things can keep the maximum from existing, and both are handled and reported:

* **disconnected**: groups of models that never met. Each group is rated around a mean of 0; between groups a
  difference of ratings means nothing (`component` tells the groups apart).
* **separable**: inside a group, some models never lost to the others, and their rating would be infinite. The table
  is then shrunk: of every battle, the share `SHRINKAGE` counts as a tie.

Wins that weigh less than 1e-9 of the heaviest entry of the table count as none.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.activations import sigmoid
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.errors import FitError

__all__ = ["ELO_PER_NAT", "RatingFit", "elo", "fit_ratings", "newton_ratings"]

ELO_PER_NAT = 400.0 / np.log(10.0)
SHRINKAGE = 1e-3
_MAX_STEPS = 100
_MAX_STEP_NATS = 4.0
_TOLERANCE = 1e-10
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class RatingFit:
    """Ratings of a set of models.

    Attributes:
        ratings: in nats, mean 0 inside each component, shape (n_models,).
        component: number of the group of models that met each other, directly or through others, shape (n_models,).
        separable: True if the table had to be shrunk for the maximum to exist.
    """

    ratings: FloatArray
    component: IntArray
    separable: bool

    @property
    def connected(self) -> bool:
        """Whether all models can be compared."""
        return len(self.component) == 0 or int(self.component.max()) == 0


def fit_ratings(wins: FloatArray) -> RatingFit:
    """Maximum-likelihood Bradley-Terry ratings.

    Args:
        wins: weighted wins of row over column, non-negative and finite, shape (n_models, n_models).

    Raises:
        ValueError: `wins` is not square, or an entry is negative, NaN or infinite.
        FitError: Newton's method did not converge.
    """
    wins = np.array(wins, dtype=np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1]:
        raise ValueError(f"wins has shape {wins.shape}, wanted (n_models, n_models)")
    if not (np.isfinite(wins).all() and (wins >= 0).all()):
        raise ValueError("wins contains a negative, NaN or infinite entry, wanted non-negative finite weights")
    np.fill_diagonal(wins, 0.0)
    wins[wins < _NEGLIGIBLE * wins.max(initial=0.0)] = 0.0
    component = _components((wins + wins.T) > 0)
    separable = bool((_reachable(wins > 0) != (component[:, None] == component[None, :])).any())
    if separable:
        wins = _shrink(wins)
    ratings = np.zeros(len(wins))
    for group in range(int(component.max(initial=-1)) + 1):
        members = np.flatnonzero(component == group)
        ratings[members] = newton_ratings(wins[np.ix_(members, members)])
    return RatingFit(ratings, component, separable)


def elo(ratings: FloatArray, *, center: float = 1000.0) -> FloatArray:
    """Ratings on the Elo scale: center + 400 log10(e) x rating."""
    return np.asarray(center + ELO_PER_NAT * np.asarray(ratings, dtype=np.float64))


def newton_ratings(wins: FloatArray) -> FloatArray:
    """Ratings in nats with mean 0 of tables whose maximum exists, batched over leading axes.

    Each step is a Newton step, cut to 4 nats and halved until the likelihood does not fall.

    Args:
        wins: shape (..., n_models, n_models), zero diagonal, every table connected. A separable one ends about 23 nats
            out, where its gradient vanishes; `fit_ratings` handles both.

    Returns:
        Shape (..., n_models).

    Raises:
        FitError: a table did not converge in 100 steps.
    """
    wins = np.asarray(wins, dtype=np.float64)
    games = wins + np.swapaxes(wins, -1, -2)
    total = games.sum(axis=(-1, -2))[..., None]
    total = np.where(total > 0, total, 1.0)
    won, games = wins.sum(axis=-1) / total, games / total[..., None]
    tolerance = _TOLERANCE * games.sum(axis=-1)
    ratings = np.zeros(wins.shape[:-1])
    likelihood = _log_likelihood(ratings, won, games)
    for _ in range(_MAX_STEPS):
        p = sigmoid(ratings[..., :, None] - ratings[..., None, :])
        gradient = won - (games * p).sum(axis=-1)
        if (np.abs(gradient) <= tolerance).all():
            return np.asarray(ratings - ratings.mean(axis=-1, keepdims=True))
        step = _newton_step(games * p * (1.0 - p), gradient)
        ratings, likelihood = _climb(ratings, step, likelihood, won, games)
    raise FitError(
        f"ratings of {wins.shape[-1]} models did not converge in {_MAX_STEPS} steps: the win table is disconnected "
        "or its weights differ by too many orders of magnitude"
    )


def _newton_step(curvature: FloatArray, gradient: FloatArray) -> FloatArray:
    """Step of the Newton system, its shift fixed by pinning the mean, cut to the largest step."""
    n = curvature.shape[-1]
    diagonal = curvature.sum(axis=-1)
    laplacian = -curvature
    laplacian[..., np.arange(n), np.arange(n)] += diagonal
    pin = diagonal.mean(axis=-1)[..., None, None] / n
    try:
        step = np.linalg.solve(laplacian + np.where(pin > 0, pin, 1.0), gradient[..., None])[..., 0]
    except np.linalg.LinAlgError as error:
        raise FitError(f"the win table of {n} models is disconnected, exactly or to rounding") from error
    largest = np.abs(step).max(axis=-1, keepdims=True)
    return np.asarray(step * np.minimum(1.0, _MAX_STEP_NATS / np.maximum(largest, 1e-300)))


def _climb(
    ratings: FloatArray, step: FloatArray, likelihood: FloatArray, won: FloatArray, games: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The new ratings and their likelihood after a step, halved per table until it does not lose likelihood."""
    for _ in range(30):
        after = _log_likelihood(ratings + step, won, games)
        worse = after < likelihood - 1e-14 * (1.0 + np.abs(likelihood))
        if not worse.any():
            break
        step = np.where(worse[..., None], step / 2.0, step)
    return ratings + step, after


def _log_likelihood(ratings: FloatArray, won: FloatArray, games: FloatArray) -> FloatArray:
    """sum_i won_i r_i - sum_{i<j} games_ij (log(e^r_i + e^r_j)), per table."""
    pairwise = np.logaddexp(ratings[..., :, None], ratings[..., None, :])
    return np.asarray((won * ratings).sum(axis=-1) - 0.5 * (games * pairwise).sum(axis=(-1, -2)))


def _shrink(wins: FloatArray) -> FloatArray:
    """Of every battle, the share `SHRINKAGE` counts as a tie: with both directions positive the maximum exists."""
    return np.asarray((1.0 - SHRINKAGE) * wins + SHRINKAGE * (wins + wins.T) / 2.0)


def _reachable(edges: np.ndarray) -> np.ndarray:
    """Transitive, reflexive closure of a directed graph given as a boolean matrix, by repeated squaring."""
    closure = edges | np.eye(len(edges), dtype=bool)
    while True:
        longer = (closure.astype(np.float32) @ closure.astype(np.float32)) > 0
        if (longer == closure).all():
            return closure
        closure = longer


def _components(met: np.ndarray) -> IntArray:
    """Number of the connected component of each node, in order of first appearance."""
    if len(met) == 0:
        return np.zeros(0, dtype=np.int64)
    first = _reachable(met).argmax(axis=1)
    return np.unique(first, return_inverse=True)[1].astype(np.int64)
