"""Bradley-Terry ratings."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.core.battles import Battles, win_table
from pointsman.core.errors import FitError
from pointsman.core.ratings import ELO_PER_NAT, elo, fit_ratings, newton_ratings
from pointsman.core.tiers import assign_tiers

from oracles.reference import rating_gradient
from oracles.strategies import battles, win_tables


def _golden_battles(case: dict) -> tuple[Battles, np.ndarray, np.ndarray]:
    r, n, models = np.random.default_rng(case["seed"]), case["n"], case["models"]
    skill = np.sort(r.standard_normal(models))[::-1] * 0.8
    a = r.integers(0, models, n)
    b = (a + 1 + r.integers(0, models - 1, n)) % models
    embeddings = r.standard_normal((n, case["dim"]))
    u = r.random(n)
    p = 1 / (1 + np.exp(-(skill[a] - skill[b])))
    outcome = np.where(u < p * 0.85, 1.0, np.where(u < p * 0.85 + 0.15, 0.5, 0.0))
    queries = r.standard_normal((8, case["dim"]))
    return Battles(tuple(f"m{i}" for i in range(models)), a, b, outcome, np.ones(n)), embeddings, queries


def test_reference_elo_and_tiers(golden):
    """Reference Elo up to a shift, to 0.5 points, and the reference tiers exactly."""
    case = golden["sw_ranking"]
    fought, _, _ = _golden_battles(case)
    points = elo(fit_ratings(win_table(fought)).ratings)
    off = points - [case["elo"][m] for m in fought.models]
    assert np.abs(off - off.mean()).max() < 0.5
    assert dict(zip(fought.models, assign_tiers(points, 5).tolist(), strict=True)) == case["tiers"]


@given(win_tables())
def test_the_gradient_is_zero_at_the_ratings(wins):
    """The ratings solve the likelihood equations that are written out battle by battle."""
    fit = fit_ratings(wins)
    assert fit.connected
    assert not fit.separable
    assert np.abs(rating_gradient(fit.ratings, wins)).max() < 1e-6 * wins.sum()


@given(win_tables(), st.randoms(use_true_random=False))
def test_naming_order_is_irrelevant(wins, random):
    """Permuting the models permutes the ratings."""
    order = list(range(len(wins)))
    random.shuffle(order)
    permuted = fit_ratings(wins[np.ix_(order, order)]).ratings
    assert permuted == pytest.approx(fit_ratings(wins).ratings[order], abs=1e-6)


@given(win_tables(), st.floats(1e-6, 1e6))
def test_the_unit_of_weight_is_irrelevant(wins, scale):
    """Multiplying all weights by a constant changes nothing."""
    assert fit_ratings(wins * scale).ratings == pytest.approx(fit_ratings(wins).ratings, abs=1e-6)


@given(win_tables())
def test_ratings_have_mean_zero_and_swap_sign_with_the_outcome(wins):
    """Ratings are fixed up to a shift by mean 0; turning every battle round turns the ratings round."""
    ratings = fit_ratings(wins).ratings
    assert ratings.mean() == pytest.approx(0.0, abs=1e-9)
    assert fit_ratings(wins.T).ratings == pytest.approx(-ratings, abs=1e-6)


@given(battles(weights=st.floats(0, 8)))
@example(Battles(("x", "y"), [0], [1], [1.0], [1.0]))
@example(Battles(("x", "y"), [0], [0], [1.0], [1.0]))
@example(Battles(("x", "y"), [0], [1], [1.0], [5e-324]))
@example(Battles(("x", "y", "z"), [1, 1], [2, 0], [0.0, 0.0], [1.0, 3e-31]))
def test_any_battles_give_finite_ratings(fought):
    """Disconnected and separable data end with finite ratings and say what they are."""
    wins = win_table(fought)
    fit = fit_ratings(wins)
    assert np.isfinite(fit.ratings).all()
    met = (wins + wins.T) > 1e-8 * wins.max()
    assert (fit.component[:, None] == fit.component[None, :])[met].all()


@given(win_tables(max_models=4), st.integers(0, 5))
def test_batches_equal_tables_one_by_one(wins, shift):
    """A batch of tables gives each table's own ratings."""
    batch = np.stack([wins, wins.T, wins + shift * (1 - np.eye(len(wins)))])
    alone = np.stack([newton_ratings(table) for table in batch])
    assert newton_ratings(batch) == pytest.approx(alone, abs=1e-7)


def test_groups_that_never_met_are_told_apart():
    """Two pairs that never met make two components, each around 0."""
    wins = np.zeros((4, 4))
    wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2] = 3.0, 1.0, 1.0, 1.0
    fit = fit_ratings(wins)
    assert fit.component.tolist() == [0, 0, 1, 1]
    assert not fit.connected
    assert fit.ratings == pytest.approx([np.log(3) / 2, -np.log(3) / 2, 0.0, 0.0])


def test_a_model_that_never_loses_gets_a_finite_rating_and_is_reported():
    """Separable data is shrunk: the winner is far ahead, finite, and the fit says so."""
    fit = fit_ratings(np.array([[0.0, 10.0], [0.0, 0.0]]))
    assert fit.separable
    assert 5.0 < fit.ratings[0] - fit.ratings[1] < 10.0


def test_two_models_have_a_closed_form():
    """With wins 3 to 1 the difference is log 3; on the Elo scale 400 log10 3."""
    ratings = fit_ratings(np.array([[0.0, 3.0], [1.0, 0.0]])).ratings
    assert ratings[0] - ratings[1] == pytest.approx(np.log(3.0))
    assert np.diff(elo(ratings[::-1])) == pytest.approx(400 * np.log10(3.0))
    assert pytest.approx(400 / np.log(10)) == ELO_PER_NAT


def test_bad_tables_are_refused():
    """Tables that are not square, negative or NaN are errors."""
    with pytest.raises(ValueError, match="wanted \\(n_models, n_models\\)"):
        fit_ratings(np.zeros((2, 3)))
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="negative, NaN or infinite"):
            fit_ratings(np.array([[0.0, bad], [1.0, 0.0]]))


def test_a_bare_newton_solve_of_groups_that_never_met_is_an_error():
    """Without a common scale there is no solution, and the solver says so."""
    wins = np.zeros((4, 4))
    wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2] = 3.0, 1.0, 3.0, 1.0
    with pytest.raises(FitError, match="disconnected"):
        newton_ratings(wins)


def test_a_bare_newton_solve_of_a_separable_table_ends():
    """Without shrinkage a separable table does not hang: its ratings stop where the gradient vanishes."""
    ratings = newton_ratings(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    assert np.isfinite(ratings).all()
    assert ratings[0] - ratings[1] > 20.0
