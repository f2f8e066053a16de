"""The cheapest cascade whose expected loss against always asking the strong model is certified.

The policies (two prompt thresholds, one answer threshold) are one chain: threshold a on `core.cascade`'s scalar, from
a = 0, where everything goes to the strong model, upwards. The chain is fixed by training, so `certify_threshold` tests
it in order and all policies up to where it stops hold at once, with the stated confidence. Any of them may be chosen by
looking at the labels: the one with the lowest mean bill.
"""

from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.cascade import Window, cascade_bills, cascade_scores
from pointsman.core.guarantee import Guarantee, certify_threshold

__all__ = ["CascadePoint", "certify_cascade"]


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """A certified policy.

    Attributes:
        threshold: a; 0 where nothing but always strong is certified.
        zone: the grey zone around the prompt's win rate.
        guarantee: of the last policy of the chain that is certified.
        strong_share: share of the labelled prompts that the strong model answers.
        loss: their mean loss.
        usd, strong_usd: mean dollars of a prompt, and of always asking the strong model; None without bills.
    """

    threshold: float
    zone: Window
    guarantee: Guarantee
    strong_share: float
    loss: float
    usd: float | None
    strong_usd: float | None


def certify_cascade(
    prompt_win_rates: FloatArray,
    answer_win_rates: FloatArray,
    strong: FloatArray,
    weak: FloatArray,
    *,
    zone: Window,
    max_loss: float,
    confidence: float = 0.95,
    usd: tuple[FloatArray, FloatArray] | None = None,
    verifier_usd: float = 0.0,
    seed: int = 0,
) -> CascadePoint:
    """The cheapest policy of the chain whose expected loss is certified to be at most `max_loss`.

    Args:
        prompt_win_rates, answer_win_rates: in [0, 1], shape (n_prompts,).
        strong, weak: scores in [0, 1], shape (n_prompts,).
        zone: fixed before the labels were seen.
        usd: dollars of each prompt with the strong and the weak model; without them the last certified one is taken.
        verifier_usd: what the verifier's own calls cost, per prompt in the grey zone.

    Raises:
        ValueError: as `certify_threshold`.
    """
    scores = cascade_scores(prompt_win_rates, answer_win_rates, zone)
    found = certify_threshold(scores, strong, weak, max_loss=max_loss, confidence=confidence, seed=seed)
    threshold, bill, always = found.threshold, None, None
    if usd is not None:
        steps = np.unique(scores[scores <= found.threshold])
        steps = np.concatenate(([0.0], steps, [found.threshold])) if found.certified else np.zeros(1)
        bills = cascade_bills(
            prompt_win_rates, answer_win_rates, steps, zone=zone, weak=usd[1], strong=usd[0], verifier=verifier_usd
        )
        cheapest = int(bills.argmin())
        threshold, bill, always = float(steps[cheapest]), float(bills[cheapest]), float(np.mean(usd[0]))
    kept = scores < threshold
    return CascadePoint(
        threshold=threshold,
        zone=zone,
        guarantee=found,
        strong_share=float(1.0 - kept.mean()),
        loss=float(np.where(kept, np.asarray(strong) - np.asarray(weak), 0.0).mean()),
        usd=bill,
        strong_usd=always,
    )
