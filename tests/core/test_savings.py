"""Totals of answers that were never asked for, and whether their intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.core.savings import length_features, ratio_total, regression_total
from pointsman.serve.protocols.token_count import count_tokens

lengths = arrays(np.float64, st.integers(3, 40), elements=st.floats(1, 1e4))


def rng(seed=0):
    return np.random.default_rng(seed)


@given(lengths, st.floats(0.1, 10))
def test_a_constant_ratio_is_found(given_lengths, ratio):
    """Where every other answer is so many times as long, the total is, too, and the interval is a point."""
    found = ratio_total(given_lengths, given_lengths, ratio * given_lengths, rng=rng(), n_replicates=50)
    truth = ratio * given_lengths.sum()
    assert found.low == pytest.approx(truth)
    assert found.total == pytest.approx(truth)
    assert found.high == pytest.approx(truth)


@given(lengths, st.floats(0, 100), st.floats(0, 10))
def test_a_linear_law_is_found(features, constant, slope):
    """Lengths that are linear in a feature are predicted exactly, wherever the prompts lie."""
    fit = np.linspace(1, 50, 20)
    found = regression_total(features[:, None], fit[:, None], constant + slope * fit, rng=rng(), n_replicates=50)
    assert found.total == pytest.approx((constant + slope * features).sum(), rel=1e-6, abs=1e-6)
    assert found.low <= found.total * (1 + 1e-6) + 1e-6
    assert found.high >= found.total * (1 - 1e-6) - 1e-6


@given(lengths, st.floats(0.01, 100))
def test_units_do_not_matter(values, scale):
    """Lengths in other units give the total in those units."""
    features = np.sqrt(values)[:, None] + np.arange(values.size)[:, None]
    one = regression_total(features, features, values, rng=rng(), n_replicates=50) if values.size > 5 else None
    if one is not None:
        other = regression_total(features, features, scale * values, rng=rng(), n_replicates=50)
        assert other.total == pytest.approx(scale * one.total, rel=1e-6)
        assert other.high == pytest.approx(scale * one.high, rel=1e-6)


def test_a_feature_that_tells_nothing_is_left_out():
    """Win rates that are all alike do not break the fit."""
    features = np.stack([np.arange(30.0), np.full(30, 0.4)], axis=1)
    values = 3.0 + 2.0 * np.arange(30.0)
    assert regression_total(features, features, values, rng=rng()).total == pytest.approx(values.sum())


def test_more_rows_than_blocks_give_the_same_total():
    """Beyond a thousand rows the bootstrap draws blocks; the estimate itself stays that of all rows."""
    features = rng(1).random((5000, 1))
    values = 10.0 + 5.0 * features[:, 0]
    found = regression_total(features, features, values, rng=rng(), n_replicates=100)
    assert found.total == pytest.approx(values.sum())
    assert found.n_fit == 5000


def simulate(seed, n=400):
    """Answers of both models whose length grows with the prompt's and with the win rate, which also decides."""
    draw = rng(seed)
    prompt, win_rate = draw.lognormal(4, 1, n), draw.beta(2, 2, n)
    mean = 150 + 60 * np.log1p(prompt) + 300 * win_rate
    strong, weak = mean * draw.lognormal(-0.18, 0.6, n), 0.7 * mean * draw.lognormal(-0.18, 0.6, n)
    return length_features(prompt, win_rate), strong, weak, win_rate < 0.6, draw


@pytest.mark.parametrize("method", ["ratio", "regression"])
def test_the_interval_holds_the_truth_as_often_as_it_says(method):
    """A 95 % interval holds what the answers really would have been in 90 % to 99 % of 200 simulated months."""
    held = 0
    for seed in range(200):
        features, strong, weak, routed, draw = simulate(seed)
        if method == "ratio":
            both = routed & (draw.random(len(routed)) < 0.2)
            found = ratio_total(weak[routed], weak[both], strong[both], rng=draw, n_replicates=300)
        else:
            found = regression_total(features[routed], features[~routed], strong[~routed], rng=draw, n_replicates=300)
        held += found.low <= strong[routed].sum() <= found.high
    assert 180 <= held <= 198


def test_leaving_out_the_win_rate_would_miss_the_truth():
    """The strong model's prompts are not like the others: without the win rate the interval is wrong, and narrow."""
    held = 0
    for seed in range(40):
        features, strong, _, routed, draw = simulate(seed, n=1000)
        features = features[:, :2]
        found = regression_total(features[routed], features[~routed], strong[~routed], rng=draw, n_replicates=200)
        held += found.low <= strong[routed].sum() <= found.high
    assert held < 10


def test_real_costs_of_an_expensive_model_are_found(shared_data):
    """On prompts whose cost is known for both models, the estimate is within its interval for most random halves."""
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(shared_data / "outcomes_paretobandit.parquet").to_pylist()
    cost: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["cost_usd"] is not None:
            cost.setdefault(row["model"], {})[row["prompt"]] = 1e6 * row["cost_usd"]
    cheap, dear = sorted(cost, key=lambda name: np.mean(list(cost[name].values())))[:: len(cost) - 1]
    prompts = sorted(set(cost[cheap]) & set(cost[dear]))
    weak, strong = (np.array([cost[name][prompt] for prompt in prompts]) for name in (cheap, dear))
    tokens = np.array([count_tokens(prompt) for prompt in prompts])
    size = np.log1p(tokens)
    held = {"ratio": 0, "regression": 0}
    for seed in range(40):
        draw = rng(seed)
        score = size / size.max() + draw.normal(0, 0.3, len(prompts))  # long prompts more often go to the strong model
        routed = score < np.quantile(score, 0.7)
        both = routed & (draw.random(len(prompts)) < 0.1)
        features, truth = length_features(tokens, score), strong[routed].sum()
        paired = ratio_total(weak[routed], weak[both], strong[both], rng=draw, n_replicates=300)
        fitted = regression_total(features[routed], features[~routed], strong[~routed], rng=draw, n_replicates=300)
        held["ratio"] += paired.low <= truth <= paired.high
        held["regression"] += fitted.low <= truth <= fitted.high
    assert held["ratio"] >= 35
    assert held["regression"] >= 35


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: ratio_total(np.ones(3), np.ones(2), np.ones(2), rng=rng()), "at least 3 pairs"),
        (lambda: ratio_total(np.ones(3), np.zeros(3), np.ones(3), rng=rng()), "all empty"),
        (lambda: ratio_total(-np.ones(3), np.ones(3), np.ones(3), rng=rng()), "not negative"),
        (lambda: ratio_total(np.ones(3), np.ones(3), np.ones(3), rng=rng(), confidence=1.0), "confidence is 1.0"),
        (lambda: regression_total(np.ones((2, 1)), np.ones((2, 1)), np.ones(2), rng=rng()), "wanted more"),
        (lambda: regression_total(np.ones((2, 2)), np.ones((9, 1)), np.ones(9), rng=rng()), "features have shapes"),
        (lambda: regression_total(np.full((2, 1), np.nan), np.ones((9, 1)), np.ones(9), rng=rng()), "not finite"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call, problem):
    """The message says what is wrong."""
    with pytest.raises(ValueError, match=problem):
        call()


@given(st.floats(1, 1e4), st.integers(0, 5))
def test_intervals_do_not_leave_what_was_seen(far, seed):
    """Where features hardly vary in the fit, lines through a few of its rows know nothing far away."""
    draw = np.random.default_rng(seed)
    fit = 1.0 + 1e-3 * draw.random(40)
    values = np.where(draw.random(40) < 0.1, 900.0, 1000.0)
    found = regression_total(np.full((60, 1), far), fit[:, None], values, rng=draw, n_replicates=200)
    spread = 60 * 100.0  # of single answers around their mean, generously
    assert found.high <= max(60 * 1000.0, found.total) + spread and found.low >= min(60 * 900.0, found.total) - spread
