"""A bound on lost quality that holds at every moment: bets on a pre-fixed chain of thresholds.

Step k of a chain sends a prompt to the weak model where its score is below threshold t_k; t_1 < t_2 < ..., safest
first. Its loss is l_k = E[L 1{score < t_k}], L in [-1, 1] the strong model's score less the weak one's. Each request is
drawn with a known probability p to have both answers compared (Z = 1 if it was). Then

    X_k = Z L 1{score < t_k} / p,     E[X_k] = l_k

and a bettor against "l_k > max_loss" has the wealth

    W_k = sum over j of w_j W_kj,     W_kj = prod over requests of (1 + b_j f_k (max_loss - X_k))

with b_j in (0, 1) a few fixed bets, w_j their weights, and f_k the least p of the prompts that step k sends to the weak
model, under the plan that was in force: so no factor is negative. Under the hypothesis no factor is expected above 1,
whatever happened before: W_k reaches 1 / error at *any* time with probability at most error (Ville; Waudby-Smith and
Ramdas 2024). A step opens once its wealth has ever been 1 / error, and only behind open ones. The first step of the
chain whose loss is too high does not depend on the sample, and nothing opens behind it unless its own bettor was lucky:
the error is not multiplied by the number of steps.

All that is kept of the past are sums per step, which do not depend on the order of what was added: parts that several
processes added up are merged by adding. `probability` may depend on the prompt and on all that was learnt before, never
on the answers. Requests that were not drawn bring max_loss to the bettor: they count when the next one that was drawn
has been judged (`n_undrawn`); where a comparison fails, both are left out.

Of many candidates step k sends a prompt to the one whose rung t_k lies on (`core.ladder`). A comparison is of one of
them, drawn with the probability p of prompt and candidate together, and counts for the steps that lie on its rung.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.threshold_chain import Chain

__all__ = ["Certificate", "Estimate", "generation_error"]

_BETS = np.array([0.9, 0.45, 0.22, 0.11, 0.055])
_PRIOR = np.array([4.0, 3.0, 2.0, 1.5, 1.0]) / 11.5  # large bets open the first steps, small ones the last


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean loss of a step so far.

    Attributes:
        value: unbiased; 0 before there is a request.
        low, high: interval at 95 %, by the normal approximation: for display, the certificate does not rest on it.
    """

    value: float
    low: float
    high: float


class Certificate:
    """Wealth of the bettors on a chain of steps.

    Attributes:
        chain: the steps.
        max_loss: the bound, in (0, 1).
        error: probability with which it may fail, in (0, 1).
        largest_loss: of one comparison, at least 1; above it where losses are corrected, see `core.judge_bias`.
        n_requests, n_compared: requests that count, drawn or not, and comparisons.
    """

    def __init__(self, chain: Chain, *, max_loss: float, error: float, largest_loss: float = 1.0) -> None:
        """Starts empty.

        Raises:
            ValueError: an argument leaves its range.
        """
        for name, value in (("max_loss", max_loss), ("error", error)):
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} is {value}, wanted a number between 0 and 1")
        if not largest_loss >= 1.0:
            raise ValueError(f"largest_loss is {largest_loss}, wanted at least 1")
        self.chain, self.max_loss, self.error, self.largest_loss = chain, max_loss, error, largest_loss
        n = len(chain)
        self._log_wealth = np.zeros((n, len(_BETS)))
        self._most = np.zeros(n)  # highest logarithm that the mixture's wealth ever had
        self._sums = np.zeros((4, n + 1))  # per cell: weights 1 / p, losses L / p, their squares, and gains / p
        self.n_requests = 0
        self.n_compared = 0

    def add(
        self,
        score: float,
        loss: float,
        *,
        probability: float,
        least: FloatArray,
        n_undrawn: int = 0,
        until: float = math.inf,
        gain: float = 1.0,
    ) -> None:
        """One comparison, and the requests before it that were not drawn.

        Args:
            score: of the prompt.
            loss: strong's score less weak's, in [-largest_loss, largest_loss].
            probability: with which such a prompt is drawn, in (0, 1].
            least: f_k, the least probability of what each step sends to the weak model under the plan in force, in
                (0, 1], shape (n_steps,).
            n_undrawn: requests under this plan since the comparison before.
            until: of many candidates, the threshold above which the compared one is not chosen any more.
            gain: of many, what the compared one saves; see `gain`.

        Raises:
            ValueError: a value leaves its range, or the comparison was less probable than `least` says.
        """
        one = np.atleast_1d
        self.add_many(
            one(np.float64(score)),
            one(np.float64(loss)),
            probabilities=one(np.float64(probability)),
            least=least,
            n_undrawn=one(np.int64(n_undrawn)),
            untils=one(np.float64(until)),
            gains=one(np.float64(gain)),
        )

    def add_many(
        self,
        scores: FloatArray,
        losses: FloatArray,
        *,
        probabilities: FloatArray,
        least: FloatArray,
        n_undrawn: IntArray,
        untils: FloatArray | None = None,
        gains: FloatArray | None = None,
    ) -> None:
        """Comparisons under one plan, in the order in which they were drawn: as `add` of each, all of shape (n,).

        Raises:
            ValueError: see `add`; nothing is added then.
        """
        if not len(losses):
            return
        n = len(self.chain)
        cells = self.chain.cells(scores)
        ends = np.full(len(losses), n) if untils is None else self.chain.cells(untils)
        counts = (cells[:, None] <= np.arange(n)) & (np.arange(n) < ends[:, None])
        if bad := losses[~(np.abs(losses) <= self.largest_loss)].tolist():
            raise ValueError(f"loss is {bad[0]}, wanted a number in [-{self.largest_loss:g}, {self.largest_loss:g}]")
        highest = np.where(counts, least, 0.0).max(axis=1)
        wrong = ~((probabilities > 0) & (probabilities <= 1) & (highest <= probabilities * (1.0 + 1e-9)))
        if wrong.any() or not (least > 0).all():
            shown = probabilities[wrong][:1].tolist() or probabilities[:1].tolist()
            raise ValueError(f"probability is {shown[0]}, wanted one in (0, 1] and none of `least` above it")
        if (n_undrawn < 0).any():
            raise ValueError(f"n_undrawn is {n_undrawn.min()}, wanted 0 or more")
        bets = least[:, None] * (_BETS / self.largest_loss)
        gained, weighted = np.log1p(bets * self.max_loss), losses / probabilities
        steps = np.log1p(bets * (self.max_loss - np.where(counts, weighted[:, None], 0.0)[:, :, None]))
        paths = self._log_wealth + np.cumsum(steps + n_undrawn[:, None, None] * gained, axis=0)
        self._most = np.maximum(self._most, _mixed(paths).max(axis=0))
        self._log_wealth = paths[-1]
        saved = (1.0 if gains is None else gains) / probabilities
        for row, values in enumerate((1.0 / probabilities, weighted, weighted**2, saved)):
            self._sums[row] += np.bincount(cells, values, minlength=n + 1)
            self._sums[row, :n] -= np.bincount(ends, values, minlength=n + 1)[:n]
        self.n_requests += len(losses) + int(n_undrawn.sum())
        self.n_compared += len(losses)

    def merge(self, other: "Certificate") -> None:
        """Adds the sums of another process, which come from other comparisons.

        Raises:
            ValueError: the other one is of another chain, bound or error.
        """
        if self._terms() != other._terms():
            raise ValueError("certificates of another chain, bound or error cannot be merged")
        self._log_wealth += other._log_wealth
        self._sums += other._sums
        self.n_requests += other.n_requests
        self.n_compared += other.n_compared
        self._most = np.maximum(self._most, self.log_wealth)

    @property
    def log_wealth(self) -> FloatArray:
        """Logarithm of each step's wealth now, shape (n_steps,)."""
        return _mixed(self._log_wealth)

    @property
    def n_open(self) -> int:
        """How many steps are open: each of them, and all before it, has ever had the wealth."""
        short = np.flatnonzero(self._most < self.wanted)
        return int(short[0]) if short.size else len(self.chain)

    @property
    def wanted(self) -> float:
        """Logarithm of the wealth that opens a step."""
        return -math.log(self.error)

    @property
    def threshold(self) -> float:
        """Of the last open step; minus infinity, below every score, while none is open."""
        return float(self.chain.thresholds[self.n_open - 1]) if self.n_open else -math.inf

    def estimate(self, step: int) -> Estimate:
        """Mean loss of a step, unbiased where the step did not depend on the comparisons."""
        mean, error = self._mean(step)
        return Estimate(mean, mean - 1.96 * error, mean + 1.96 * error)

    def reachable(self) -> int:
        """How many steps may be within the bound, give or take a standard error: comparing beyond them tells little."""
        n = max(self.n_requests, 1)
        means = np.cumsum(self._sums[1])[:-1] / n
        errors = np.sqrt(np.maximum(np.cumsum(self._sums[2])[:-1], 0.0)) / n  # where rungs end, rounding may leave less
        within = np.flatnonzero(means - errors <= self.max_loss)
        return int(within[-1]) + 1 if within.size else 1

    def weights(self) -> FloatArray:
        """Sum of 1 / probability over the comparisons in each cell: how many requests it had, shape (n_steps + 1,).

        Of many candidates those of a rung that begins in the cell, less those of one that ends before it.
        """
        return np.array(self._sums[0], dtype=np.float64)

    def gain(self, step: int) -> float:
        """What a request that a step sends away saves on average, of many candidates: 1 where it is the cheapest."""
        weight = float(self._sums[0, : step + 1].sum())
        return float(self._sums[3, : step + 1].sum()) / weight if weight > 0.0 else 1.0

    def requests_needed(self, step: int) -> int | None:
        """About how many more requests would open a step were its losses as so far; None if no number would.

        By the best fixed bet, whose wealth grows by (max_loss - l)^2 / (2 v) a request, v the variance.
        """
        missing = self.wanted + 1.0 - max(float(self.log_wealth[step]), 0.0)  # 1: what mixing bets costs, about
        mean, error = self._mean(step)
        margin = self.max_loss - mean
        if self.n_requests < 1 or margin <= 0.0:
            return None
        rate = min(margin * margin / (2.0 * max(error**2 * self.n_requests, 1e-9)), 0.5 * margin)
        return max(1, math.ceil(missing / rate))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        return {
            "thresholds": self.chain.thresholds.tolist(),
            "shares": self.chain.shares.tolist(),
            "max_loss": self.max_loss,
            "error": self.error,
            "largest_loss": self.largest_loss,
            "log_wealth": self._log_wealth.tolist(),
            "most": self._most.tolist(),
            "sums": self._sums.tolist(),
            "n_requests": self.n_requests,
            "n_compared": self.n_compared,
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> "Certificate":
        """The certificate that `to_dict` described.

        Raises:
            ValueError: it is damaged.
        """
        try:
            terms = {name: float(kept[name]) for name in ("max_loss", "error", "largest_loss")}
            found = cls(Chain(kept["thresholds"], kept["shares"]), **terms)
            for name, values in (("_log_wealth", "log_wealth"), ("_most", "most"), ("_sums", "sums")):
                array = np.array(kept[values], dtype=np.float64)
                if name == "_sums" and len(array) == 3:  # of earlier versions, without gains
                    array = np.vstack([array, array[:1]])
                if array.shape != getattr(found, name).shape or not np.isfinite(array).all():
                    raise ValueError(f"{values} has shape {array.shape} or is not finite")
                setattr(found, name, array)
            found.n_requests, found.n_compared = int(kept["n_requests"]), int(kept["n_compared"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the state of a certificate is damaged: {error}") from error
        return found

    def _mean(self, step: int) -> tuple[float, float]:
        """Mean of X of a step, and its standard error."""
        n = max(self.n_requests, 1)
        mean = float(self._sums[1, : step + 1].sum()) / n
        square = float(self._sums[2, : step + 1].sum()) / n
        return mean, math.sqrt(max(square - mean * mean, 0.0) / n)

    def _terms(self) -> tuple[Any, ...]:
        return (tuple(self.chain.thresholds.tolist()), self.max_loss, self.error, self.largest_loss)


def _mixed(log_wealth: FloatArray) -> FloatArray:
    """Logarithm of the mixture's wealth from those of the bets, the last axis."""
    top = log_wealth.max(axis=-1)
    return np.asarray(top + np.log(np.exp(log_wealth - top[..., None]) @ _PRIOR))


def generation_error(error: float, generation: int) -> float:
    """What generation 0, 1, 2, ... may spend of an error: 3/4, 3/16, 3/64, ... of it; all of them together spend it."""
    if generation < 0:
        raise ValueError(f"generation is {generation}, wanted 0 or more")
    return error * 0.75 * 0.25**generation
