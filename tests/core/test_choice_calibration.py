"""Thresholds among many candidates: shares and dollars are kept on the data, and a bound on loss is rarely broken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.choice_calibration import (
    BEST,
    GRID,
    certify_choice,
    share_at,
    threshold_for_share,
    threshold_for_usd,
)
from pointsman.core.choice_rows import weigh_rows

SEEDS = st.integers(0, 2**32 - 1)
CHANCES = (0.9, 0.8, 0.6)
USD = np.array([1.0, 0.3, 0.1])


def _drawn(n, seed, *, signal=0.3):
    """Win rates, scores and bills of three models, worse the cheaper they are, of prompts that tell something."""
    rng = np.random.default_rng(seed)
    ease = rng.uniform(-signal, signal, (n, 1))
    chance = np.clip(np.array(CHANCES) + np.array([0.0, 0.5, 1.0]) * ease, 0.0, 1.0)
    rates = np.clip(0.5 + (chance[:, [0]] - chance) / 2.0, 0.0, 1.0)
    return rates, (rng.random((n, 3)) < chance).astype(float), np.tile(USD, (n, 1)) * rng.uniform(0.5, 2.0, (n, 1))


@settings(max_examples=5)
@given(SEEDS, st.floats(0.0, 1.0), st.floats(0.2, 2.0))
def test_shares_and_dollars_are_kept_from_the_threshold_on(seed, share, max_usd):
    """At the threshold, and at every higher one, mean share and mean bill are within what was asked for."""
    rates, _, usd = _drawn(40, seed)
    weighing = weigh_rows(rates, usd)
    threshold = threshold_for_share(weighing, share)
    assert max(share_at(weighing, t) for t in GRID[threshold <= GRID][::25]) <= share + 1e-9
    rows = np.arange(40)
    if usd.min(axis=1).mean() <= max_usd:
        threshold = threshold_for_usd(weighing, usd, max_usd)
        assert usd[rows, weighing.chosen(threshold)].mean() <= max_usd + 1e-9
        lower = GRID[threshold > GRID]
        assert threshold == BEST or usd[rows, weighing.chosen(float(lower[-1]))].mean() > max_usd
    else:
        with pytest.raises(ValueError, match="raise it"):
            threshold_for_usd(weighing, usd, max_usd)


def test_no_budget_buys_what_is_expected_to_be_worse():
    """However much may be spent, three candidates are chosen by expected quality; a pair ends at the reference."""
    rates, _, usd = _drawn(40, 0)
    assert threshold_for_usd(weigh_rows(rates, usd), usd, 100.0) == BEST
    pair = weigh_rows(rates[:, :2], usd[:, :2])
    assert threshold_for_usd(pair, usd[:, :2], 100.0) == 0.0


def test_a_bound_on_loss_is_rarely_broken():
    """The true loss at the certified threshold exceeds the bound in at most four of 20 draws of labels."""
    rates, _, usd = _drawn(1000, 0)
    whole = weigh_rows(rates, usd)
    rng = np.random.default_rng(1)
    chance = 1.0 - 2.0 * (rates - 0.5)  # the reference's less what is lost by asking another
    chance = chance - chance.max() + 0.95
    true = {t: (chance[:, 0] - chance[np.arange(1000), whole.chosen(t)]).mean() for t in GRID.tolist()}
    broken = certified = 0
    for _ in range(20):
        rows = rng.choice(1000, 200, replace=False)
        scores = (rng.random((200, 3)) < np.clip(chance[rows], 0.0, 1.0)).astype(float)
        found = certify_choice(weigh_rows(rates[rows], usd[rows]), scores, max_loss=0.1, confidence=0.95)
        certified += found.certified
        broken += true[found.threshold] > 0.1
    assert certified > 4 and broken <= 4


def test_graded_scores_are_bet_on_and_nothing_is_certified_without_labels_enough():
    """Graded scores take the betting test; few labels certify nothing but the reference; wrong input is named."""
    rates, scores, usd = _drawn(600, 3)
    found = certify_choice(weigh_rows(rates, usd), scores * 0.5 + 0.25, max_loss=0.2, confidence=0.95)
    assert found.test == "betting" and found.certified and found.loss < 0.2
    few = weigh_rows(rates[:5], usd[:5])
    assert not certify_choice(few, scores[:5], max_loss=0.05, confidence=0.95).certified
    with pytest.raises(ValueError, match=r"confidence is 1\.5"):
        certify_choice(few, scores[:5], max_loss=0.05, confidence=1.5)
    with pytest.raises(ValueError, match=r"shape \(4, 3\), wanted \(5, 3\)"):
        certify_choice(few, scores[:4], max_loss=0.05, confidence=0.95)
    with pytest.raises(ValueError, match="share is 2"):
        threshold_for_share(few, 2.0)
