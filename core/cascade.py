"""A cascade controlled by one scalar, from the win rates before and after reading the cheap answer.

The strong model's win rate is predicted twice: p from the prompt, w from the prompt and the cheap answer. With
threshold a, an answer's win rate decides only in the grey zone around the prompt's:

    p - hard >= a             surely hard: the strong model at once
    p + easy <  a             surely easy: the cheap model's answer, unread
    else                      the cheap model answers; the strong model is asked, too, iff w >= a

This is "strong iff v >= a" with v = min(max(w, p - hard), p + easy): all that holds for a router's win rates and one
threshold (shares, budgets, quality curves, certificates) holds for v and a. Raising a only ever moves prompts from the
strong to the cheap model.

With c_w, c_s, c_v the dollars of the cheap answer, the strong answer and of the verifier's calls, and d the expected
escalation of a prompt, a cascade costs c_w + c_v + d c_s. A router that sends it to the strong model with probability s
costs s c_s + (1 - s) c_w. Hence a cascade pays while

    d < s (1 - c_w / c_s) - c_v / c_s

and `hard` is where that fails for s = 1, by the distribution of w - p.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = ["Window", "cascade_bills", "cascade_pays", "cascade_scores", "doubt", "expected_escalation", "window"]

_EASY_ESCALATION = 0.01


@dataclass(frozen=True, slots=True)
class Window:
    """The grey zone around a prompt's win rate.

    Attributes:
        hard: win rate above the threshold from which the strong model is asked at once, not negative.
        easy: win rate below the threshold up to which the cheap answer is not read, not negative.
    """

    hard: float
    easy: float

    def __post_init__(self) -> None:
        if not (self.hard >= 0.0 and self.easy >= 0.0):
            raise ValueError(f"hard is {self.hard}, easy {self.easy}: wanted numbers that are not negative")

    def look(self, prompt_win_rate: float, threshold: float) -> str:
        """The decision by the prompt alone: "strong", "weak", or "cascade" in the grey zone."""
        if prompt_win_rate - self.hard >= threshold:
            return "strong"
        return "weak" if prompt_win_rate + self.easy < threshold else "cascade"


def window(residuals: FloatArray, *, weak_usd: float, strong_usd: float, verifier_usd: float = 0.0) -> Window:
    """The grey zone in which a cascade is expected to cost less than the strong model at once.

    Args:
        residuals: answer's minus prompt's win rate on prompts that training did not see, shape (n_prompts,).
        weak_usd, strong_usd, verifier_usd: expected dollars of a prompt with each model and of the verifier's calls.

    Raises:
        ValueError: there is no residual, or dollars are negative.
    """
    if not np.size(residuals) or min(weak_usd, strong_usd, verifier_usd) < 0:
        dollars = f"weak {weak_usd}, strong {strong_usd}, verifier {verifier_usd} dollars"
        raise ValueError(f"{np.size(residuals)} residuals, {dollars}: wanted at least one, and none negative")
    worth = 1.0 - (weak_usd + verifier_usd) / strong_usd if strong_usd > 0 else 0.0
    low = float(np.quantile(residuals, 1.0 - min(1.0, max(0.0, worth))))
    return Window(hard=max(0.0, -low), easy=max(0.0, float(np.quantile(residuals, 1.0 - _EASY_ESCALATION))))


def doubt(token_logprobs: Sequence[float]) -> float:
    """1 - exp(mean log-probability of an answer's tokens), in [0, 1]: how unsure a model is of its answer.

    Args:
        token_logprobs: not above 0, at least one.
    """
    return 1.0 - math.exp(min(0.0, math.fsum(token_logprobs) / len(token_logprobs)))


def cascade_scores(prompt_win_rates: FloatArray, answer_win_rates: FloatArray, zone: Window) -> FloatArray:
    """v = min(max(w, p - hard), p + easy), in [0, 1], shape (n_prompts,)."""
    p, w = np.asarray(prompt_win_rates, dtype=np.float64), np.asarray(answer_win_rates, dtype=np.float64)
    return np.asarray(np.clip(np.minimum(np.maximum(w, p - zone.hard), p + zone.easy), 0.0, 1.0))


def cascade_bills(
    prompt_win_rates: FloatArray,
    answer_win_rates: FloatArray,
    thresholds: FloatArray,
    *,
    zone: Window,
    weak: FloatArray,
    strong: FloatArray,
    verifier: float = 0.0,
) -> FloatArray:
    """Mean bill of a prompt at each threshold, both calls of a cascade counted, shape (n_thresholds,).

    In dollars or in seconds, which add up alike. At threshold 0 every prompt goes to the strong model at once.

    Args:
        weak, strong: bill of each prompt with each model, shape (n_prompts,).
        verifier: of what the verifier asks, per prompt in the grey zone.
    """
    p, w = np.asarray(prompt_win_rates, dtype=np.float64), np.asarray(answer_win_rates, dtype=np.float64)
    hard, easy = p - zone.hard, p + zone.easy
    strong, weak = np.asarray(strong, dtype=np.float64), np.asarray(weak, dtype=np.float64)
    at_once = _reaching(hard, strong, thresholds)
    cheap = weak.sum() - _reaching(hard, weak, thresholds)
    grey = _reaching(easy, np.ones(p.size), thresholds) - _reaching(hard, np.ones(p.size), thresholds)
    asked_on = _reaching(np.minimum(w, easy), strong, thresholds) - _reaching(np.minimum(w, hard), strong, thresholds)
    total = at_once + cheap + verifier * grey + asked_on
    return np.asarray(np.where(thresholds <= 0.0, strong.sum(), total) / p.size)


def expected_escalation(prompt_win_rate: float, threshold: float, residuals: FloatArray) -> float:
    """d: share of answers to such a prompt whose win rate will reach the threshold."""
    return float((prompt_win_rate + np.asarray(residuals) >= threshold).mean())


def cascade_pays(
    escalation: float, share: float, *, weak_usd: float, strong_usd: float, verifier_usd: float = 0.0
) -> bool:
    """Whether d < s (1 - c_w / c_s) - c_v / c_s.

    Args:
        escalation: d, expected share of prompts that are escalated.
        share: s, share that a router on the prompt alone would send to the strong model at equal quality.
        weak_usd, strong_usd, verifier_usd: dollars of a prompt; nothing pays before a strong model that costs nothing.
    """
    if not strong_usd > 0.0:
        return False
    return escalation < share * (1.0 - weak_usd / strong_usd) - verifier_usd / strong_usd


def _reaching(values: FloatArray, weights: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Sum of the weights of the values that are at least each threshold."""
    order = np.argsort(values, kind="stable")
    below = np.concatenate(([0.0], np.cumsum(weights[order])))
    return np.asarray(below[-1] - below[np.searchsorted(values[order], thresholds, side="left")])
