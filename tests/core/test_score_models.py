"""Predicted scores: exact against the obvious version, drawn to the means, and worth nothing where labels are noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.evidence import Evidence, gain_over_fixed, shrinkage, signal
from pointsman.core.hull import point_usd, upper_hull
from pointsman.core.landmarks import Landmarks
from pointsman.core.score_models import NeighbourMeans, blend, column_means, fit_rows, shrunk_win_rates, usual_cosine

SEEDS = st.integers(0, 2**32 - 1)


def _one_by_one(embeddings, column, query, k, temperature, prior, full):
    """Shrunk weighted mean of the k nearest prompts that a column knows, written out."""
    known = [i for i in range(len(column)) if np.isfinite(column[i])]
    if not known:
        return np.nan
    cosines = {i: float(embeddings[i] @ query / np.linalg.norm(embeddings[i]) / np.linalg.norm(query)) for i in known}
    nearest = sorted(known, key=lambda i: -cosines[i])[:k]
    first = cosines[nearest[0]] if full is None else full
    weights = [min(1.0, np.exp((cosines[i] - first) / temperature)) for i in nearest]
    mean = sum(column[i] for i in known) / len(known)
    total = sum(w * column[i] for w, i in zip(weights, nearest, strict=True)) + prior * mean
    return total / (sum(weights) + prior)


@given(
    st.integers(1, 30),
    st.integers(1, 40),
    st.sampled_from([0.05, 0.5]),
    st.sampled_from([0.0, 3.0]),
    st.sampled_from([None, 0.0, 0.9]),
    st.sampled_from([0.0, 0.3, 0.9]),
    SEEDS,
)
def test_every_column_has_its_own_neighbours(n, k, temperature, prior, full, missing, seed):
    """Means equal the obvious computation, each column over the prompts on which it is known; NaN where none is."""
    rng = np.random.default_rng(seed)
    embeddings, values = rng.standard_normal((n, 6)), rng.random((n, 4))
    values[rng.random((n, 4)) < missing] = np.nan
    queries = rng.standard_normal((3, 6))
    got = NeighbourMeans(embeddings, values, k=k, temperature=temperature, prior=prior, full=full)(queries)
    for query, row in zip(queries, got, strict=True):
        wanted = [_one_by_one(embeddings, values[:, j], query, k, temperature, prior, full) for j in range(4)]
        assert row == pytest.approx(wanted, abs=1e-4, nan_ok=True)


@given(SEEDS, st.floats(0.1, 100.0))
def test_rows_are_the_ridge_solution(seed, penalty):
    """At the fitted coefficients the penalised squared error of every column has no slope."""
    rng = np.random.default_rng(seed)
    embeddings, values = rng.standard_normal((40, 6)), rng.random((40, 3))
    values[:10, 1] = np.nan
    landmarks = Landmarks(rng.standard_normal((5, 6)), 0.2)
    (rows,) = fit_rows(landmarks, embeddings, values, penalties=np.array([penalty]))
    m = landmarks.memberships(embeddings)
    scale = np.mean((m**2).sum(axis=1)) ** -0.5
    for j in range(3):
        known = np.isfinite(values[:, j])
        error = values[known, j] - rows(embeddings[known])[:, j]
        slope = scale * m[known].T @ error - penalty * rows.coefficients[j] / scale
        assert error.sum() == pytest.approx(0.0, abs=1e-8)
        assert slope == pytest.approx(np.zeros(5), abs=1e-7)


def test_a_blend_asks_only_what_counts():
    """A half is the mean of both; a part without weight is not asked."""

    def fails(embeddings):
        raise AssertionError("asked")

    one, three = (lambda e: np.full((len(e), 1), 1.0)), (lambda e: np.full((len(e), 1), 3.0))
    assert blend(one, three, 0.5)(np.zeros((2, 2))).tolist() == [[2.0], [2.0]]
    assert blend(one, fails, 1.0)(np.zeros((1, 2))).item() == 1.0
    assert blend(fails, three, 0.0)(np.zeros((1, 2))).item() == 3.0


@given(SEEDS)
def test_win_rates_lie_between_means_and_predictions(seed):
    """Without shrinkage to count, win rates are the means'; the reference's own are 1/2; all lie in [0, 1]."""
    rng = np.random.default_rng(seed)
    scores, means = rng.random((5, 4)), rng.random(4)
    fixed = shrunk_win_rates(scores, means, np.zeros(4), reference=1)
    assert fixed == pytest.approx(np.tile(0.5 + (means[1] - means) / 2, (5, 1)))
    full = shrunk_win_rates(scores, means, np.ones(4), reference=1)
    assert full == pytest.approx(0.5 + (scores[:, [1]] - scores) / 2)
    half = shrunk_win_rates(scores, means, np.full(4, 0.5), reference=1)
    assert half == pytest.approx((fixed + full) / 2) and (half[:, 1] == 0.5).all()


@given(SEEDS, st.integers(1, 8))
def test_no_mixture_of_two_models_beats_the_hull(seed, n):
    """Every single model and every mixture of two lies on or below the hull, which starts with the cheapest."""
    rng = np.random.default_rng(seed)
    usd, quality = rng.integers(0, 5, n).astype(float), rng.integers(0, 5, n).astype(float)
    hull = upper_hull(usd, quality)
    assert hull.usd[0] == usd.min() and hull.quality[-1] == quality.max()
    for i in range(n):
        for j in range(n):
            for p in (0.0, 0.3, 0.7):
                x, y = p * usd[i] + (1 - p) * usd[j], p * quality[i] + (1 - p) * quality[j]
                assert y <= hull.quality_at(max(x, usd.min())) + 1e-9
    worth = point_usd(usd, quality)
    assert worth is None or usd[hull.best_row(worth * 0.999)] == usd.min()


@settings(max_examples=10)
@given(SEEDS)
def test_noise_is_worth_nothing_and_a_signal_something(seed):
    """Predictions unrelated to the scores are shrunk away and gain nothing; true ones count fully and are trusted."""
    rng = np.random.default_rng(seed)
    truth = rng.random((600, 4))
    scores = (rng.random((600, 4)) < truth).astype(float)
    scores[rng.random((600, 4)) < 0.1] = np.nan
    usd = np.tile([4.0, 2.0, 1.0, 0.5], (600, 1))
    means = np.tile(column_means(scores), (600, 1)), usd
    noise = rng.random((600, 4))
    assert shrinkage(noise, scores).max() < 0.5 and shrinkage(truth, scores).min() > 0.6
    assert gain_over_fixed(shrunk_win_rates(truth, truth, np.ones(4)), usd, scores, usd, means).trusted
    for expected, bills in ((usd, usd), (None, None)):
        by_noise = gain_over_fixed(shrunk_win_rates(noise, noise, np.ones(4)), expected, scores, bills, means)
        assert not by_noise.trusted and by_noise.gain < 0


@settings(max_examples=10)
@given(SEEDS, st.floats(0.1, 10.0))
def test_a_signal_is_the_slopes_standard_errors(seed, factor):
    """Of two models it is least squares' own, whatever the scale and the constants of predictions, with the other sign
    for opposite ones, and 0 for ones that do not tell the models apart.
    """
    rng = np.random.default_rng(seed)
    predicted, scores = rng.random((200, 2)), rng.random((200, 2))
    found = signal(predicted, scores)
    x, y = (values[:, 0] - values[:, 1] for values in (predicted, scores))
    x, y = x - x.mean(), y - y.mean()
    slope = (x * y).sum() / (x**2).sum()
    assert found == pytest.approx((x * y).sum() / np.sqrt(((x * (y - slope * x)) ** 2).sum()))
    assert signal(factor * predicted + rng.random(2), scores) == pytest.approx(found)
    assert signal(-predicted, scores) == pytest.approx(-found)
    assert signal(np.tile(predicted[:, [0]], 2), scores) == 0.0


@settings(max_examples=10)
@given(SEEDS)
def test_a_signal_needs_fewer_prompts_than_a_gain(seed):
    """On 150 prompts a true prediction tells three models apart far more surely than a shuffled one can."""
    rng = np.random.default_rng(seed)
    truth = rng.random((150, 3))
    scores = (rng.random((150, 3)) < truth).astype(float)
    assert signal(truth, scores) > 6.0 > signal(truth[rng.permutation(150)], scores)


@given(st.floats(-1.0, 1.0), st.floats(0.01, 1.0), st.floats(-9.0, 9.0))
def test_a_signal_is_not_trusted_where_choosing_by_it_lost(gain, error, strength):
    """What gained nothing on left-out prompts is never trusted, and a sure gain needs no signal."""
    evidence = Evidence(gain, error, 100, strength)
    assert evidence.trusted == (gain > 1.645 * error or (gain > 0.0 and strength > 2.33))
    assert evidence.trusted or not evidence.surely_gains


@settings(max_examples=5)
@given(SEEDS)
def test_models_share_what_is_known_of_how_far_predictions_count(seed):
    """Where a signal is equally strong for all models all count alike, also one that few prompts are labelled of."""
    rng = np.random.default_rng(seed)
    truth = rng.random((2000, 4))
    scores = (rng.random((2000, 4)) < truth).astype(float)
    scores[60:, 3] = np.nan
    counts = shrinkage(0.5 + (truth - 0.5) * 2.0, scores)  # says twice as much as is true
    assert np.abs(counts - 0.5).max() < 0.12


def test_wrong_shapes_are_named():
    """Shapes and settings that do not fit are errors with their values."""
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(1, 4\)"):
        NeighbourMeans(np.zeros((2, 3)), np.zeros((1, 4)), k=1, temperature=1.0, prior=0.0)
    with pytest.raises(ValueError, match="k is 0"):
        NeighbourMeans(np.zeros((2, 3)), np.zeros((2, 4)), k=0, temperature=1.0, prior=0.0)
    with pytest.raises(ValueError, match="not finite"):
        upper_hull(np.array([1.0, np.nan]), np.zeros(2))
    with pytest.raises(ValueError, match="wanted one of each"):
        upper_hull(np.zeros(2), np.zeros(3))


def test_far_neighbours_count_little():
    """With a cosine from which prompts count fully, a mean is drawn to that of all the more the further they are."""
    embeddings = np.array([[1.0, 0.0]] * 5 + [[-1.0, 0.0]] * 5)
    values = np.array([[1.0]] * 5 + [[0.0]] * 5)
    means = NeighbourMeans(embeddings, values, k=5, temperature=0.1, prior=1.0, full=0.9)
    angles = np.array([0.0, 0.3, 0.8, 1.2])
    near, *others = means(np.stack([np.cos(angles), np.sin(angles)], axis=1))[:, 0]
    assert near == pytest.approx(5.5 / 6)
    assert near >= others[0] > others[1] > others[2] > 0.5
    assert usual_cosine(np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), rng=np.random.default_rng(0)) == pytest.approx(
        0.8
    )
