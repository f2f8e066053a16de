"""A cascade on one scalar: which policy it is, what it costs, and that its guarantee holds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.cascade import (
    Window,
    cascade_bills,
    cascade_pays,
    cascade_scores,
    doubt,
    expected_escalation,
    window,
)
from pointsman.core.cascade_guarantee import certify_cascade
from pointsman.core.guarantee import certify_threshold

RATE = st.floats(0.0, 1.0, width=16)
ROWS = st.lists(st.tuples(RATE, RATE, st.floats(0.0, 2.0, width=16), st.floats(0.0, 5.0, width=16)), min_size=1)
ZONES = st.builds(Window, hard=st.sampled_from([0.0, 0.125, 0.5, 2.0]), easy=st.sampled_from([0.0, 0.125, 0.5, 2.0]))


def followed(p, w, threshold, zone, weak_usd, strong_usd, verifier_usd):
    """One prompt taken through both looks, step by step: who answers, and the bill."""
    look = zone.look(p, threshold)
    if look == "strong" or threshold == 0.0:
        return "strong", strong_usd
    if look == "weak":
        return "weak", weak_usd
    if w >= threshold:
        return "strong", weak_usd + verifier_usd + strong_usd
    return "weak", weak_usd + verifier_usd


@given(ROWS, ZONES, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_one_scalar_says_what_both_looks_do(rows, zone, threshold):
    """Strong iff the clamped win rate reaches the threshold; the bill is that of every prompt followed by itself."""
    p, w, weak, strong = (np.array(values) for values in zip(*rows, strict=True))
    answers = [followed(*row[:2], threshold, zone, *row[2:], 0.25) for row in rows]
    scores = cascade_scores(p, w, zone)
    for score, (answered_by, _) in zip(scores, answers, strict=True):
        assert (score >= threshold) == (answered_by == "strong")
    (bill,) = cascade_bills(p, w, np.array([threshold]), zone=zone, weak=weak, strong=strong, verifier=0.25)
    assert bill == pytest.approx(np.mean([usd for _, usd in answers]), abs=1e-9)


@given(ROWS, ZONES)
def test_a_higher_threshold_only_moves_prompts_to_the_cheap_model(rows, zone):
    """Who answers at a threshold is a subset of who does at a higher one: the policies are one chain."""
    p, w, *_ = (np.array(values) for values in zip(*rows, strict=True))
    scores = cascade_scores(p, w, zone)
    kept = [set(np.flatnonzero(scores < threshold)) for threshold in np.linspace(0.0, 1.0, 9)]
    assert all(earlier <= later for earlier, later in itertools.pairwise(kept))


def test_the_window_is_where_a_cascade_stops_paying():
    """Surely hard begins where the expected escalation reaches 1 - c_w / c_s."""
    residuals = np.linspace(-0.5, 0.5, 10_001)
    zone = window(residuals, weak_usd=0.2, strong_usd=1.0)
    threshold = 0.4
    for p in (threshold + zone.hard - 0.01, threshold + zone.hard + 0.01):
        d = expected_escalation(p, threshold, residuals)
        assert cascade_pays(d, 1.0, weak_usd=0.2, strong_usd=1.0) == (zone.look(p, threshold) == "cascade")


def test_a_cascade_pays_by_the_bills_of_both_policies():
    """d < s (1 - c_w / c_s) - c_v / c_s iff c_w + c_v + d c_s < s c_s + (1 - s) c_w."""
    rng = np.random.default_rng(0)
    for d, s, c_w, c_s, c_v in rng.random((500, 5)):
        cheaper = c_w + c_v + d * c_s < s * c_s + (1 - s) * c_w
        assert cascade_pays(d, s, weak_usd=c_w, strong_usd=c_s, verifier_usd=c_v) == cheaper
    assert not cascade_pays(0.0, 1.0, weak_usd=0.0, strong_usd=0.0)


def population(n=20_000):
    """Win rates from the prompt and from the answer, and scores that the latter predict better."""
    rng = np.random.default_rng(0)
    wrong = rng.random(n)
    p = np.clip(0.5 + 0.1 * (wrong - 0.5) + 0.1 * rng.standard_normal(n), 0, 1)
    w = np.clip(0.5 + 0.4 * (wrong - 0.5) + 0.05 * rng.standard_normal(n), 0, 1)
    weak = (rng.random(n) < 1.0 - 0.6 * wrong**2).astype(float)
    strong = np.where(rng.random(n) < 0.03, 1.0 - weak, np.maximum(weak, rng.random(n) < 0.8)).astype(float)
    return p, w, strong, weak, rng.random(n) * 0.1, 0.5 + rng.random(n)


def test_the_certified_policy_breaks_its_bound_no_more_often_than_said():
    """Over 200 draws of 500 labels the chosen policy's true loss is above the bound in at most 5 %, plus error."""
    p, w, strong, weak, cheap, dear = population()
    zone = Window(hard=0.1, easy=0.3)
    scores, rng = cascade_scores(p, w, zone), np.random.default_rng(1)
    broken, shares = 0, []
    for _ in range(200):
        r = rng.integers(0, len(p), 500)
        point = certify_cascade(p[r], w[r], strong[r], weak[r], zone=zone, max_loss=0.05, usd=(dear[r], cheap[r]))
        broken += np.where(scores < point.threshold, strong - weak, 0.0).mean() > 0.05
        shares.append(point.strong_share)
    assert broken / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(shares) < 0.9


def test_the_cheapest_certified_policy_is_chosen():
    """No policy up to the last certified one costs less; without bills it is the last one."""
    p, w, strong, weak, cheap, dear = (values[:1000] for values in population())
    zone = Window(hard=0.1, easy=0.3)
    point = certify_cascade(p, w, strong, weak, zone=zone, max_loss=0.1, usd=(dear, cheap))
    last = certify_threshold(cascade_scores(p, w, zone), strong, weak, max_loss=0.1).threshold
    bills = cascade_bills(p, w, np.linspace(0.0, last, 200), zone=zone, weak=cheap, strong=dear)
    assert point.usd <= bills.min() + 1e-12
    assert point.threshold <= last
    assert certify_cascade(p, w, strong, weak, zone=zone, max_loss=0.1).threshold == last


def test_nothing_certified_is_always_strong():
    """Where no policy can be certified the threshold is 0, and the bill that of the strong model."""
    p, w, strong, weak, cheap, dear = (values[:20] for values in population())
    point = certify_cascade(p, w, strong, weak, zone=Window(0.1, 0.1), max_loss=0.01, usd=(dear, cheap))
    assert (point.threshold, point.strong_share, point.loss) == (0.0, 1.0, 0.0)
    assert point.usd == pytest.approx(dear.mean())


def test_wrong_arguments_are_refused():
    """A negative window or bill, and no residuals, are errors."""
    with pytest.raises(ValueError, match="wanted numbers that are not negative"):
        Window(hard=-0.1, easy=0.0)
    with pytest.raises(ValueError, match="wanted at least one, and none negative"):
        window(np.zeros(0), weak_usd=0.0, strong_usd=1.0)


@given(st.lists(st.floats(-50.0, 0.0), min_size=1))
def test_doubt_is_what_the_mean_probability_leaves(logprobs):
    """Between 0, sure of every token, and 1; the less likely the tokens, the higher."""
    assert doubt(logprobs) == pytest.approx(1.0 - np.exp(np.mean(logprobs)), abs=1e-9)
    assert 0.0 <= doubt(logprobs) <= doubt([value - 1.0 for value in logprobs]) <= 1.0
