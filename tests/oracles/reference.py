"""Slow, obvious versions of what the core computes fast."""

import itertools
import math

import numpy as np

__all__ = [
    "apgr_by_share",
    "best_partition_cost",
    "cpt_by_share",
    "mf_win_rate",
    "quality_by_share",
    "rating_gradient",
    "sw_win_rate",
]


def mf_win_rate(
    P: np.ndarray, W: np.ndarray, w: np.ndarray, b: np.ndarray, e: np.ndarray, pair: tuple[int, int]
) -> float:
    """Win rate of one model over another on one prompt, term by term."""
    logits = []
    for model in pair:
        norm = math.sqrt(sum(x * x for x in P[model]))
        logit = 0.0
        for k in range(len(w)):
            projected = sum(W[k][j] * e[j] for j in range(len(e))) + b[k]
            logit += w[k] * (P[model][k] / norm) * projected
        logits.append(logit)
    difference = logits[0] - logits[1]
    return 1 / (1 + math.exp(-difference)) if difference >= 0 else math.exp(difference) / (1 + math.exp(difference))


def rating_gradient(ratings: np.ndarray, wins: np.ndarray) -> np.ndarray:
    """Gradient of the Bradley-Terry log-likelihood, battle by battle."""
    gradient = np.zeros(len(ratings))
    for i, j in itertools.permutations(range(len(ratings)), 2):
        surprise = 1 - 1 / (1 + math.exp(-(ratings[i] - ratings[j])))
        gradient[i] += wins[i, j] * surprise
        gradient[j] -= wins[i, j] * surprise
    return gradient


def best_partition_cost(values: np.ndarray, n_groups: int) -> float:
    """Least sum of population variances over all ways to cut sorted values into contiguous groups."""
    ordered = sorted(values)
    costs = []
    for cuts in itertools.combinations(range(1, len(ordered)), n_groups - 1):
        edges = [0, *cuts, len(ordered)]
        costs.append(sum(float(np.var(ordered[a:b])) for a, b in itertools.pairwise(edges)))
    return min(costs)


def sw_win_rate(
    embeddings: np.ndarray, first: np.ndarray, second: np.ndarray, outcome: np.ndarray, query: np.ndarray
) -> np.ndarray:
    """Similarity-weighted win table of tiers, one battle at a time."""
    cosines = [float(e @ query / (np.linalg.norm(e) * np.linalg.norm(query))) for e in embeddings]
    n = int(max(first.max(), second.max())) + 1
    wins = np.zeros((n, n))
    for cosine, a, b, share in zip(cosines, first, second, outcome, strict=True):
        if a == b:
            continue
        weight = 10 * 10 ** (cosine / max(cosines))
        wins[a, b] += weight * share
        wins[b, a] += weight * (1 - share)
    return wins


def quality_by_share(rates: np.ndarray, strong: np.ndarray, weak: np.ndarray) -> list[float]:
    """Expected mean score after 0, 1, ..., n prompts went to strong, best win rate first, at random among equals."""
    n = len(rates)
    gains = [0.0]
    for rate in sorted(set(rates), reverse=True):
        tied = [float(strong[i] - weak[i]) for i in range(n) if rates[i] == rate]
        gains += [sum(tied) / len(tied)] * len(tied)
    return [(sum(weak) + total) / n for total in itertools.accumulate(gains)]


def apgr_by_share(quality: list[float]) -> float:
    """Mean of the gap recovered, by the trapezoid rule."""
    recovered = [(q - quality[0]) / (quality[-1] - quality[0]) for q in quality]
    return sum((a + b) / 2 for a, b in itertools.pairwise(recovered)) / (len(quality) - 1)


def cpt_by_share(quality: list[float], part: float) -> float:
    """Least share, on straight lines between the points, at which the part of the gap is recovered."""
    n = len(quality) - 1
    wanted = quality[0] + part * (quality[-1] - quality[0])
    k = next(k for k in range(1, n + 1) if quality[k] >= wanted - 1e-9)
    step = quality[k] - quality[k - 1]
    return (k - 1 + min(1.0, (wanted - quality[k - 1]) / step)) / n


def smoothed_ranks(reference, live, rng):
    """Share of what came before (the reference, then earlier live values) below each value, ties broken at random."""
    seen, ranks = list(reference), []
    for value in live:
        below = sum(other < value for other in seen)
        ties = 1 + sum(other == value for other in seen)
        seen.append(value)
        ranks.append((below + rng.random() * ties) / len(seen))
    return ranks


def doubly_robust_mean(contrast, gain, probability, features, *, seed):
    """Mean of c m + S c (g - m) / p, prompt by prompt; m a least-squares line through the other half's."""
    half = np.random.default_rng(seed).permutation(len(gain)) % 2 == 0
    total = 0.0
    for i in range(len(gain)):
        rows = [k for k in range(len(gain)) if half[k] != half[i] and not np.isnan(gain[k])]
        m = 0.0
        if len(rows) >= 20:
            x = np.array([[1.0, *features[k]] for k in rows])
            slope = np.linalg.pinv(x) @ np.array([gain[k] for k in rows])
            m = float(np.clip(np.array([1.0, *features[i]]) @ slope, -1.0, 1.0))
        total += contrast[i] * m
        if not np.isnan(gain[i]):
            total += contrast[i] * (gain[i] - m) / probability[i]
    return total / len(gain)
