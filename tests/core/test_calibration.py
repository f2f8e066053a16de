"""Thresholds from budgets, and maps from win rates to probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.core.calibration import (
    Calibration,
    calibrate_threshold,
    mean_cost_usd,
    strong_share,
    threshold_for_cost,
    tie_mass,
)
from pointsman.core.probability import (
    cross_fitted,
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    pair_outcomes,
    reliability,
)

from oracles.strategies import win_rates


@st.composite
def labelled(draw):
    """Win rates, some of them tied, with outcomes 0, 0.5 and 1."""
    rates = draw(win_rates(max_size=60))
    return rates, draw(arrays(np.float64, len(rates), elements=st.sampled_from([0.0, 0.5, 1.0])))


@given(win_rates(), st.floats(0, 1))
def test_the_share_reached_is_the_share_wanted_up_to_ties(rates, share):
    """A calibrated threshold misses the wanted share by at most 1/n and the mass of ties at the threshold."""
    threshold = calibrate_threshold(rates, strong_share=share)
    slack = 1 / len(rates) + tie_mass(rates, threshold) + 1e-9
    assert abs(strong_share(rates, threshold) - share) <= slack


@given(win_rates(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_never_raises_the_threshold(rates, a, b):
    """Thresholds fall as the wanted share grows."""
    low, high = sorted((a, b))
    assert calibrate_threshold(rates, strong_share=high) <= calibrate_threshold(rates, strong_share=low)


@given(win_rates(min_size=2), st.floats(0, 1))
def test_quantiles_that_travel_give_the_same_threshold(rates, share):
    """A stored calibration answers within one quantile step of the sample that it came from."""
    stored = Calibration.from_win_rates(rates, source="test")
    below = calibrate_threshold(rates, strong_share=min(1.0, share + 0.001))
    above = calibrate_threshold(rates, strong_share=max(0.0, share - 0.001))
    assert below - 1e-9 <= stored.threshold(share) <= above + 1e-9


@given(win_rates(max_size=40), st.floats(0, 1))
def test_a_dollar_budget_is_used_but_never_exceeded(rates, part):
    """No threshold that sends more prompts to the strong model fits into the budget."""
    n = len(rates)
    strong, weak = np.linspace(2.0, 3.0, n), np.linspace(0.1, 0.2, n)
    rates = np.minimum(rates, 0.99)
    budget = weak.mean() + part * (strong.mean() - weak.mean())
    threshold = threshold_for_cost(rates, strong_usd=strong, weak_usd=weak, max_cost_usd=budget)
    assert mean_cost_usd(rates, threshold, strong_usd=strong, weak_usd=weak) <= budget * (1 + 1e-9)
    for lower in set(rates[rates < threshold]):
        assert mean_cost_usd(rates, lower, strong_usd=strong, weak_usd=weak) > budget


def test_a_budget_below_the_weak_model_is_refused():
    """A budget that nothing meets is an error that states the least cost."""
    with pytest.raises(ValueError, match=r"cheapest threshold costs 0\.1"):
        threshold_for_cost(np.array([0.2, 0.4]), strong_usd=np.ones(2), weak_usd=np.full(2, 0.1), max_cost_usd=0.05)
    with pytest.raises(ValueError, match="win rates of 1"):
        threshold_for_cost(np.array([1.0, 1.0]), strong_usd=np.ones(2), weak_usd=np.full(2, 0.1), max_cost_usd=0.2)


@pytest.mark.parametrize(
    ("rates", "share", "message"),
    [
        ([], 0.5, "at least one prompt"),
        ([0.1, np.nan], 0.5, r"win_rates\[1\] is nan"),
        ([0.1, 1.5], 0.5, r"win_rates\[1\] is 1\.5"),
        ([0.1], 1.5, r"strong_share is 1\.5"),
    ],
)
def test_bad_arguments_are_refused(rates, share, message):
    """Empty, NaN and out-of-range win rates are errors that name the row."""
    with pytest.raises(ValueError, match=message):
        calibrate_threshold(np.array(rates), strong_share=share)


@pytest.mark.parametrize("quantiles", [(0.5,), (0.5, 0.4), (0.0, 1.5), (0.0, float("nan"))])
def test_bad_quantiles_are_refused(quantiles):
    """Stored quantiles must be at least two non-decreasing numbers in [0, 1]."""
    with pytest.raises(ValueError, match="non-decreasing"):
        Calibration("test", 3, quantiles)


@given(labelled())
def test_the_isotonic_map_is_monotone_and_least_squares(data):
    """It never falls, keeps the mean, and no other level of a pool is closer to the outcomes."""
    rates, outcomes = data
    fitted = fit_isotonic(rates, outcomes)(rates)
    assert (np.diff(fitted[np.argsort(rates, kind="stable")]) >= -1e-12).all()
    assert fitted.mean() == pytest.approx(outcomes.mean())
    for level in set(fitted.tolist()):
        assert outcomes[fitted == level].mean() == pytest.approx(level)


def test_the_isotonic_map_equals_scikit_learn():
    """Known answer: scikit-learn's isotonic regression on 3,000 noisy labels with ties."""
    sklearn = pytest.importorskip("sklearn.isotonic")
    rng = np.random.default_rng(0)
    rates = np.round(rng.random(3000), 2)
    outcomes = (rng.random(3000) < rates**2).astype(float)
    known = sklearn.IsotonicRegression().fit(rates, outcomes).predict(rates)
    np.testing.assert_allclose(fit_isotonic(rates, outcomes)(rates), known, atol=1e-12)


def test_platts_map_recovers_a_logistic_distortion():
    """Slope and intercept of a known distortion are found within their errors."""
    rng = np.random.default_rng(1)
    rates = rng.uniform(0.02, 0.98, 40_000)
    logits = 0.5 * np.log(rates / (1 - rates)) - 1.0
    outcomes = (rng.random(40_000) < 1 / (1 + np.exp(-logits))).astype(float)
    fitted = fit_platt(rates, outcomes)
    assert fitted.slope == pytest.approx(0.5, abs=0.04)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.05)


@given(labelled())
def test_platts_map_is_finite_and_never_falls(data):
    """One class only, separable classes, ties: the answer is a monotone probability all the same."""
    rates, outcomes = data
    probabilities = fit_platt(rates, outcomes)(np.linspace(0, 1, 50))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (np.diff(probabilities) >= 0).all()


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_calibrating_lowers_the_error_on_prompts_not_used(method):
    """ECE of a distorted win rate falls to noise level after a cross-fitted map."""
    rng = np.random.default_rng(2)
    truth = rng.random(8000)
    outcomes = (rng.random(8000) < truth).astype(float)
    raw = 1 / (1 + ((1 - truth) / truth) ** 0.3)
    after = cross_fitted(raw, outcomes, method=method, rng=rng)
    assert expected_calibration_error(raw, outcomes) > 0.1
    assert expected_calibration_error(after, outcomes) < 0.03


@given(labelled(), st.integers(1, 20))
def test_bins_hold_every_prompt_once_and_never_split_a_tie(data, n_bins):
    """Bins partition the prompts, and their means average to the overall means."""
    rates, outcomes = data
    bins = reliability(rates, outcomes, n_bins=n_bins)
    assert bins.n_prompts.sum() == len(rates) and (bins.n_prompts > 0).all()
    assert bins.n_prompts @ bins.outcome / len(rates) == pytest.approx(outcomes.mean())
    assert (np.diff(bins.win_rate) > 0).all()
    assert 0.0 <= bins.ece <= 1.0


def test_a_tie_of_two_models_is_half_a_win():
    """Outcomes are the share of the win that goes to the strong model."""
    assert pair_outcomes(np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.5, 0.2])).tolist() == [1.0, 0.5, 0.0]


def test_maps_refuse_what_is_no_label():
    """Outcomes outside [0, 1], unknown methods and a single prompt are errors."""
    with pytest.raises(ValueError, match=r"outcomes\[0\] is 2"):
        fit_isotonic(np.array([0.5]), np.array([2.0]))
    with pytest.raises(ValueError, match="isotonic, platt"):
        cross_fitted(np.zeros(3), np.zeros(3), method="magic", rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="two prompts"):
        cross_fitted(np.zeros(1), np.zeros(1), method="platt", rng=np.random.default_rng(0))
