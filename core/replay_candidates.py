"""What another router, or another threshold, would have done with logged traffic of any number of candidates.

As `core.replay`, with gains g(m) = reference's score - candidate m's, in [-1, 1], each observed with a known
probability that may depend on who answered. A prompt that goes from model a to model b changes by g(a) - g(b), with 0
for the reference. Where neither is the reference one of both is not observed: such a prompt counts with the least and
the most that the change can be, -1 and 1.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.replay import Estimate, Figure, Logged, Replay, compared_mean, paired_figure, rated_means

__all__ = ["LoggedCandidates", "replay_candidates"]


@dataclass(frozen=True, slots=True, eq=False)
class LoggedCandidates:
    """Traffic that was served; column 0 is the reference.

    Attributes:
        asked: column of the model that was decided on, shape (n_prompts,).
        usd: expected bill of each candidate, NaN where not known, shape (n_prompts, n_candidates).
        gain: the reference's score less each candidate's, NaN where it was not observed, same shape.
        probability: with which it is observed, same shape.
        rating: of the answer that was given, NaN where nobody rated it, shape (n_prompts,).
    """

    asked: IntArray
    usd: FloatArray
    gain: FloatArray
    probability: FloatArray
    rating: FloatArray

    @property
    def share(self) -> FloatArray:
        """How far each candidate's bill goes from the cheapest to the reference's, by prompt; 0 or 1 where bills are
        not known.
        """
        least, most = self.usd.min(axis=1, keepdims=True), self.usd[:, [0]]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.minimum((self.usd - least) / (most - least), 1.0)
        alone = np.broadcast_to(np.arange(self.usd.shape[1]) == 0, self.usd.shape)
        return np.where(np.isfinite(share), share, alone)


def replay_candidates(
    logged: LoggedCandidates, then: IntArray, features: FloatArray, *, confidence: float = 0.95, seed: int = 0
) -> Replay:
    """What a candidate router would have done; `strong_share` is the mean share of `LoggedCandidates`.

    Args:
        then: column of the model that it decides on, shape (n_prompts,).
        features: what predicts gains, e.g. win rates, shape (n_prompts, n_features).
        confidence: of the intervals, in (0, 1).
        seed: of the halves that the prediction is fitted on.

    Raises:
        ValueError: shapes differ, or `confidence` leaves (0, 1).
    """
    now, n = logged.asked, len(logged.asked)
    if then.shape != (n,) or len(features) != n or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"then and features have shapes {then.shape} and {features.shape}, wanted {n} rows; confidence is "
            f"{confidence}, wanted a number in (0, 1)"
        )
    rows = np.arange(n)
    other = np.where(now == 0, then, now)  # whose gain says what changes, where one of both is the reference
    unknown = (now != then) & (now != 0) & (then != 0)

    def mean(contrast: FloatArray, column: IntArray, never: np.ndarray) -> Estimate:
        gain = np.where(never, np.nan, logged.gain[rows, column])
        probability = np.where(never, 0.0, logged.probability[rows, column])
        usd = np.full(n, np.nan)
        known = Logged(contrast >= 0.0, usd, usd, gain, probability, logged.rating)
        return compared_mean(known, contrast, features, confidence=confidence, seed=seed)

    never = np.zeros(n, dtype=bool)
    quality = Figure(
        mean(-(now != 0).astype(np.float64), now, never),
        mean(-(then != 0).astype(np.float64), then, never),
        mean((now != 0).astype(np.float64) - (then != 0) + unknown, other, unknown),
    )
    usd = [logged.usd[rows, column] for column in (now, then)]
    share = [logged.share[rows, column] for column in (now, then)]
    priced = bool(np.isfinite(usd[0] + usd[1]).any())
    changes = now != then
    return Replay(
        n_prompts=n,
        agreement=paired_figure(~changes * 1.0, ~changes * 1.0, confidence).current,
        strong_share=paired_figure(share[0], share[1], confidence),
        cost_usd=paired_figure(usd[0], usd[1], confidence) if priced else None,
        saving_usd=paired_figure(logged.usd[:, 0] - usd[0], logged.usd[:, 0] - usd[1], confidence) if priced else None,
        quality=quality,
        n_observed=int(np.isfinite(logged.gain).any(axis=1).sum()),
        unseen_share=float((changes & (unknown | (logged.probability[rows, other] == 0.0))).mean()),
        rating=rated_means(logged.rating, ~changes, confidence),
    )
