"""Quality curves, their figures and bootstrap intervals."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.core.bootstrap import CPT_LEVELS, bootstrap_curves, interval
from pointsman.core.controls import oracle_curve, random_apgr, random_band, shuffled_apgr, within_group_curve
from pointsman.core.metrics import (
    apgr,
    auc,
    cpt,
    deciles,
    gap,
    pgr,
    quality_at,
    quality_curve,
    share_for_quality,
)

from oracles import reference

SHARES = np.linspace(0.0, 1.0, 21)


@st.composite
def tables(draw, *, max_size=30):
    """Win rates with ties, and scores of two models with a gap between them."""
    n = draw(st.integers(2, max_size))
    rates = draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0])))
    scores = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    strong, weak = draw(arrays(np.float64, n, elements=scores)), draw(arrays(np.float64, n, elements=scores))
    strong[0], weak[0] = 1.0, 0.0
    return (rates, strong, weak) if strong.sum() > weak.sum() else (rates, np.ones(n), weak)


def random_table(rng, *, n, n_values):
    """A table with about `n_values` distinct win rates."""
    rates = rng.integers(0, n_values, n) / n_values
    weak = rng.integers(0, 2, n).astype(float)
    return rates, np.maximum(weak, rng.random(n) < 0.3) - (rng.random(n) < 0.1) * weak * 0.5, weak


def figures(curve):
    return [apgr(curve), auc(curve), *(cpt(curve, x) for x in CPT_LEVELS), quality_at(curve, 0.3)]


def test_figures_equal_an_independent_slow_computation_on_a_thousand_tables():
    """Curve, APGR and CPT are what sending one prompt after the other gives, averaged inside ties."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        n = int(rng.integers(2, 40))
        rates, strong, weak = random_table(rng, n=n, n_values=int(rng.integers(1, 2 * n)))
        curve = quality_curve(rates, strong, weak)
        slow = reference.quality_by_share(rates, strong, weak)
        np.testing.assert_allclose([quality_at(curve, k / n) for k in range(n + 1)], slow, atol=1e-12)
        if strong.sum() > weak.sum() + 1e-9:
            assert apgr(curve) == pytest.approx(reference.apgr_by_share(slow), abs=1e-10)
            for level in CPT_LEVELS:
                assert cpt(curve, level) == pytest.approx(reference.cpt_by_share(slow, level), abs=1e-9)


@given(tables(max_size=6))
def test_ties_count_by_their_expectation(table):
    """The curve is the mean of the curves over every order of the tied prompts."""
    rates, strong, weak = table
    n = len(rates)
    orders = [
        p for p in itertools.permutations(range(n)) if all(rates[a] >= rates[b] for a, b in itertools.pairwise(p))
    ]
    gains = np.array([np.concatenate(([0.0], np.cumsum((strong - weak)[list(p)]))) for p in orders])
    curve = quality_curve(rates, strong, weak)
    np.testing.assert_allclose(
        np.interp(np.arange(n + 1) / n, curve.share, curve.quality), weak.mean() + gains.mean(0) / n
    )


@given(tables(), st.randoms(use_true_random=False))
def test_row_order_changes_nothing(table, random):
    """Shuffled rows give the same figures."""
    order = list(range(len(table[0])))
    random.shuffle(order)
    shuffled = quality_curve(*(column[order] for column in table))
    np.testing.assert_allclose(figures(quality_curve(*table)), figures(shuffled), atol=1e-12)


@given(tables())
def test_monotone_transforms_of_win_rates_change_nothing(table):
    """Only the order of the win rates counts."""
    rates, strong, weak = table
    assert figures(quality_curve(rates, strong, weak)) == figures(quality_curve(np.exp(3 * rates) - 7, strong, weak))


@given(tables(), st.integers(-4, 4))
def test_a_constant_added_to_both_models_changes_nothing(table, constant):
    """APGR and CPT look at the gap alone."""
    rates, strong, weak = table
    plain, moved = quality_curve(rates, strong, weak), quality_curve(rates, strong + constant, weak + constant)
    assert apgr(plain) == pytest.approx(apgr(moved), abs=1e-9)
    assert cpt(plain, 0.5) == pytest.approx(cpt(moved, 0.5), abs=1e-9)


@given(tables())
def test_the_oracle_is_the_maximum(table):
    """No order of the prompts is above the oracle's at any share."""
    rates, strong, weak = table
    curve, best = quality_curve(rates, strong, weak), oracle_curve(strong, weak)
    assert (np.interp(SHARES, best.share, best.quality) >= np.interp(SHARES, curve.share, curve.quality) - 1e-12).all()
    assert apgr(best) >= apgr(curve) - 1e-12


def test_random_order_gives_one_half_in_expectation():
    """Over many random orders APGR has mean 0.5 and the deviation that `random_apgr` states."""
    rng = np.random.default_rng(1)
    _, strong, weak = random_table(rng, n=300, n_values=2)
    drawn = [apgr(quality_curve(rng.random(300), strong, weak)) for _ in range(2000)]
    stated = random_apgr(strong, weak)
    assert stated.mean == pytest.approx(0.5, abs=1e-12)
    assert np.mean(drawn) == pytest.approx(0.5, abs=4 * stated.deviation / 2000**0.5)
    assert np.std(drawn) == pytest.approx(stated.deviation, rel=0.08)
    at_half = [quality_at(quality_curve(rng.random(300), strong, weak), 0.5) for _ in range(2000)]
    assert np.std(at_half) == pytest.approx(float(random_band(strong, weak, np.array(0.5))), rel=0.08)


@given(tables())
def test_a_constant_router_is_random(table):
    """One win rate for all gives APGR 0.5 and CPT(x) = x exactly."""
    _, strong, weak = table
    curve = quality_curve(np.full(len(strong), 0.4), strong, weak)
    assert apgr(curve) == pytest.approx(0.5)
    assert cpt(curve, 0.8) == pytest.approx(0.8)


@given(tables(), st.floats(0.01, 1.0))
@example((np.array([0.5, 0.1]), np.array([1.0, 1.0]), np.array([0.0, 0.0])), 1.0)
def test_cpt_is_the_least_share_that_recovers_its_part(table, part):
    """PGR at CPT(x) is x, and lower at every smaller share."""
    curve = quality_curve(*table)
    share = cpt(curve, part)
    assert pgr(curve, share) == pytest.approx(part, abs=1e-9)
    assert all(pgr(curve, s) < part + 1e-9 for s in SHARES if s < share)


@pytest.mark.parametrize("strong", [np.zeros(4), np.full(4, 0.1), np.full(4, -1.0)])
def test_without_a_gap_there_is_nothing_to_recover(strong):
    """Where strong is not better on average, APGR, PGR and CPT are None."""
    curve = quality_curve(np.linspace(0, 1, 4), strong, np.maximum(strong[::-1], 0.0))
    assert gap(curve) is None and apgr(curve) is None and cpt(curve, 0.5) is None and pgr(curve, 0.5) is None


def test_rounding_errors_are_no_gap():
    """The same scores in another order have no gap, although their float sums differ."""
    weak = np.random.default_rng(0).random(1001)
    assert gap(quality_curve(weak, weak[::-1], weak)) is None


@pytest.mark.parametrize(
    ("rates", "strong", "weak", "message"),
    [
        ([0.1, np.nan], [1, 1], [0, 0], r"win_rates\[1\] is nan"),
        ([0.1, 0.2], [1, np.inf], [0, 0], r"strong\[1\] is inf"),
        ([0.1, 0.2], [1, 1], [np.nan, 0], r"weak\[0\] is nan"),
        ([0.1], [1, 1], [0, 0], "1 win rates for 2 outcomes"),
        ([], [], [], "wanted one"),
        ([0.1, 0.2], [1, 1], [0], "shapes"),
    ],
)
def test_bad_tables_are_refused(rates, strong, weak, message):
    """NaN, infinity, missing and surplus values are errors that name the row."""
    with pytest.raises(ValueError, match=message):
        quality_curve(np.array(rates), np.array(strong), np.array(weak))


def test_arguments_out_of_range_are_refused():
    """Shares and levels outside their range are errors."""
    curve = quality_curve(np.array([0.1, 0.9]), np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        quality_at(curve, 1.5)
    with pytest.raises(ValueError, match=r"recovered is 0\.0"):
        cpt(curve, 0.0)
    assert share_for_quality(curve, 2.0) is None


def test_deciles_are_the_curve_at_eleven_shares():
    """The 11 points lie on the exact curve, and their APGR is close to it."""
    rng = np.random.default_rng(2)
    curve = quality_curve(*random_table(rng, n=5000, n_values=5000))
    assert deciles(curve).share.tolist() == pytest.approx([k / 10 for k in range(11)])
    assert apgr(deciles(curve)) == pytest.approx(apgr(curve), abs=0.02)


@settings(max_examples=40)
@given(tables(), st.integers(0, 2**31))
def test_a_bootstrap_replicate_is_the_curve_of_the_drawn_rows(table, seed):
    """Counts over the sorted order equal drawing rows and sorting again, ties included."""
    rates, strong, weak = table
    n = len(rates)
    drawn = np.random.default_rng(seed).integers(0, n, (3, n), dtype=np.int64)
    (found,) = bootstrap_curves([rates], strong, weak, shares=SHARES, n_replicates=3, rng=np.random.default_rng(seed))
    for k, rows in enumerate(drawn):
        curve = quality_curve(rates[rows], strong[rows], weak[rows])
        np.testing.assert_allclose(found.quality[k], np.interp(SHARES, curve.share, curve.quality), atol=1e-12)
        assert found.auc[k] == pytest.approx(auc(curve))
        if apgr(curve) is None:
            assert np.isnan(found.apgr[k]) and np.isnan(found.cpt[k]).all()
        else:
            assert found.apgr[k] == pytest.approx(apgr(curve), abs=1e-9)
            np.testing.assert_allclose(found.cpt[k], [cpt(curve, x) for x in CPT_LEVELS], atol=1e-9)


def test_routers_are_bootstrapped_in_pairs():
    """Every router sees the same draws: a router and its monotone transform agree in every replicate."""
    rng = np.random.default_rng(3)
    rates, strong, weak = random_table(rng, n=200, n_values=100)
    first, second = bootstrap_curves([rates, rates**2], strong, weak, shares=SHARES, n_replicates=70, rng=rng)
    assert (first.apgr == second.apgr).all() and len(first.apgr) == 70


def test_intervals_cover_the_truth():
    """95 % intervals of APGR cover the population's value in about 95 % of samples."""
    rng = np.random.default_rng(4)
    rates = rng.random(20_000)
    weak = (rng.random(20_000) < 0.6).astype(float)
    strong = np.maximum(weak, rng.random(20_000) < 0.2 + 0.5 * rates)
    truth = apgr(quality_curve(rates, strong, weak))
    covered = 0
    for _ in range(200):
        rows = rng.integers(0, 20_000, 300)
        (found,) = bootstrap_curves([rates[rows]], strong[rows], weak[rows], shares=SHARES, n_replicates=200, rng=rng)
        ends = interval(found.apgr)
        covered += ends.low <= truth <= ends.high
    assert 180 <= covered <= 199


def test_an_interval_of_undefined_replicates_is_none():
    """Where more than 1 % of the replicates have no gap, nothing is claimed."""
    assert interval(np.array([np.nan] * 2 + [0.5] * 98)) is None
    assert interval(np.full(100, 0.5)).low == 0.5


def test_shuffling_within_groups_has_the_stated_mean_and_deviation():
    """The closed form of the label-shuffle control equals shuffling."""
    rng = np.random.default_rng(5)
    rates, strong, weak = random_table(rng, n=240, n_values=60)
    group = rng.integers(0, 6, 240)
    weak = np.where(group < 3, weak, 0.0)
    stated = shuffled_apgr(rates, strong, weak, group)
    drawn = []
    for _ in range(1500):
        rows = np.empty(240, dtype=int)
        rows[np.argsort(group, kind="stable")] = np.lexsort((rng.random(240), group))
        drawn.append(apgr(quality_curve(rates, strong[rows], weak[rows])))
    assert np.mean(drawn) == pytest.approx(stated.mean, abs=4 * stated.deviation / 1500**0.5)
    assert np.std(drawn) == pytest.approx(stated.deviation, rel=0.08)


def test_recognising_the_group_is_told_apart_from_judging_difficulty():
    """A router that knows the group alone keeps its APGR under the shuffle and is random inside groups."""
    rng = np.random.default_rng(6)
    group = rng.integers(0, 2, 2000)
    weak = (rng.random(2000) < np.where(group == 1, 0.3, 0.9)).astype(float)
    strong = np.ones(2000)
    knows_group = quality_curve(group / 1.0, strong, weak)
    assert apgr(knows_group) > 0.65
    assert shuffled_apgr(group / 1.0, strong, weak, group).mean == pytest.approx(apgr(knows_group))
    assert apgr(within_group_curve(group / 1.0, strong, weak, group)) == pytest.approx(0.5, abs=1e-3)
    judges = 1.0 - weak
    assert apgr(within_group_curve(judges, strong, weak, group)) > 0.65


@pytest.mark.parametrize(("name", "stated"), [("mmlu", 0.583), ("gsm8k", 0.598)])
def test_prompt_length_scores_what_the_field_reports(shared_data, name, stated):
    """APGR of prompt length on the development halves agrees with its known value within the interval."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(shared_data / f"routellm_{name}_dev.parquet").to_pydict()
    length, strong, weak = (
        np.array([len(p) for p in table["prompt"]], float),
        *(np.array(table[k]) for k in ("strong", "weak")),
    )
    rng = np.random.default_rng(0)
    (found,) = bootstrap_curves([length], strong, weak, shares=SHARES, n_replicates=400, rng=rng)
    ends = interval(found.apgr)
    assert ends.low < stated < ends.high
