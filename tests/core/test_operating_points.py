"""What a threshold gives, on prompts with known outcomes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.core.calibration import mean_cost_usd, strong_share
from pointsman.core.metrics import pgr, quality_at, quality_curve
from pointsman.core.operating_points import grid_thresholds, labelled_points, operating_points

_UNIT = st.floats(0.0, 1.0, width=16)


@st.composite
def _routed(draw):
    n = draw(st.integers(2, 30))
    rates, strong, weak = (draw(arrays(np.float64, n, elements=_UNIT)) for _ in range(3))
    return rates, strong, weak


@settings(max_examples=40)  # each is about a hundred thresholds
@given(_routed())
def test_every_figure_is_what_the_definition_says(routed):
    """Share, quality, retained and recovered part, dollars and saving equal the sums over prompts, one by one."""
    rates, strong, weak = routed
    points = operating_points(rates, strong, weak, usd=(strong, weak))
    chosen = rates >= points.threshold[:, None]
    quality = np.where(chosen, strong, weak).mean(axis=1)
    assert points.share.value == pytest.approx(chosen.mean(axis=1))
    assert points.quality.value == pytest.approx(quality, abs=1e-12)
    assert points.usd is not None and points.usd.value == pytest.approx(1000 * quality, abs=1e-9)
    if points.retained is not None and points.saving is not None and strong.mean() > 1e-3:
        assert points.retained.value == pytest.approx(quality / strong.mean(), abs=1e-9)
        assert points.saving.value == pytest.approx(1 - quality / strong.mean(), abs=1e-9)
    if points.recovered is not None and strong.mean() - weak.mean() > 1e-3:
        found = (quality - weak.mean()) / (strong.mean() - weak.mean())
        assert points.recovered.value == pytest.approx(found, abs=1e-9)


@settings(max_examples=40)  # each is about a hundred thresholds
@given(_routed())
def test_the_points_lie_on_the_quality_curve(routed):
    """A threshold's quality and recovered gap are the curve's at its share, and its share and cost calibration's."""
    rates, strong, weak = routed
    points, curve = operating_points(rates, strong, weak, usd=(strong, weak)), quality_curve(rates, strong, weak)
    for k, threshold in enumerate(points.threshold):
        share = float(points.share.value[k])
        assert share == pytest.approx(strong_share(rates, threshold))
        assert points.quality.value[k] == pytest.approx(quality_at(curve, share), abs=1e-9)
        assert points.usd is not None
        cost = mean_cost_usd(rates, threshold, strong_usd=strong, weak_usd=weak)
        assert points.usd.value[k] == pytest.approx(1000 * cost, abs=1e-9)
        if points.recovered is not None:
            assert points.recovered.value[k] == pytest.approx(pgr(curve, share), abs=1e-6)


def test_errors_are_those_of_fresh_samples():
    """Over 2,000 fresh samples every figure's spread is its standard error, within 10 %."""
    rng, n, at = np.random.default_rng(0), 400, np.array([0.4, 0.6])
    names = ("share", "quality", "retained", "recovered", "usd", "saving")
    values, errors = [], []
    for _ in range(2000):
        rates = rng.random(n)
        strong = (rng.random(n) < 0.8).astype(float)
        weak = (rng.random(n) < 0.8 - 0.5 * rates).astype(float)
        usd = (0.01 + 0.01 * rng.random(n), 0.001 + 0.001 * rng.random(n))
        points = operating_points(rates, strong, weak, thresholds=at, usd=usd)
        values.append([getattr(points, name).value for name in names])
        errors.append([getattr(points, name).error for name in names])
    assert np.mean(errors, axis=0) == pytest.approx(np.std(values, axis=0), rel=0.1)


def test_what_cannot_be_said_is_left_out():
    """Without a gap nothing is recovered, without a positive score nothing retained, without costs nothing saved."""
    points = operating_points(np.array([0.2, 0.8]), np.zeros(2), np.zeros(2))
    assert (points.retained, points.recovered, points.usd, points.saving) == (None, None, None, None)
    assert set(points.columns()) == {"threshold", "share", "share_error", "quality", "quality_error"}


@given(arrays(np.float64, st.integers(1, 30), elements=_UNIT))
def test_grid_thresholds_leave_no_share_out(rates):
    """At any multiple of 0.001 the share is that of the first grid threshold that is not below it."""
    grid = grid_thresholds(rates)
    assert grid[0] == 0.0 and grid[-1] == 1.0
    for threshold in np.arange(0, 1001, 7) / 1000:
        standing_in = grid[np.searchsorted(grid, threshold)]
        assert strong_share(rates, threshold) == strong_share(rates, standing_in)


@given(_routed())
def test_what_is_kept_is_what_is_reckoned(routed):
    """The points of a checkpoint are those of the thresholds that it names, from all strong to nearly none."""
    kept = labelled_points(*routed)
    again = operating_points(*routed, thresholds=np.array(kept["threshold"])).columns(decimals=4)
    assert kept == again and len(kept["threshold"]) <= 103
    assert kept["threshold"][0] == 0.0 and kept["share"][0] == 1.0 and kept["threshold"][-1] == 1.0
