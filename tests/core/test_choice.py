"""The choice among candidates: RouteLLM's rule for two, and what must hold for any number."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.core.choice import Candidate, choose, choose_and_turn, relative_bills, turning_point
from pointsman.core.choice_rows import weigh_rows
from pointsman.core.recent import NEVER_STRONG

RATES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
BILLS = st.one_of(st.floats(0, 2), st.sampled_from([0.0, 0.5, 1.0]))
THRESHOLDS = RATES


@st.composite
def fields(draw, min_size=2, max_size=7):
    """Candidates, the reference first, some of them tied; all priced, or some not."""
    n = draw(st.integers(min_size, max_size))
    priced = draw(st.sampled_from([True, True, False]))
    bills = BILLS if priced else st.one_of(st.none(), BILLS)
    return [Candidate(f"m{i}", 0.5 if i == 0 else draw(RATES), draw(bills)) for i in range(n)]


def _obvious(candidates, reference, threshold):
    """Name of the choice by the formula as it is written, for priced candidates; None on a near tie."""
    usd = {c.name: c.usd for c in [reference, *candidates]}
    least, most = min(usd.values()), usd[reference.name]
    scores = {}
    for c in candidates:
        beaten = any(o.usd < c.usd and o.win_rate <= c.win_rate for o in candidates)
        if beaten and c.name != reference.name:
            continue
        r = (c.usd - least) / (most - least) if most > least else 0.0
        scores[c.name] = 2 * c.win_rate - 1 + (2 * threshold - 1) * (min(r, 1.0) if threshold < 0.5 else r)
    best = sorted(scores.values())
    return None if len(best) > 1 and best[1] - best[0] < 1e-9 else min(scores, key=scores.get)


@given(RATES, THRESHOLDS, st.one_of(st.none(), BILLS), st.one_of(st.none(), BILLS))
@example(0.1, math.nextafter(0.1, 1.0), 1.0, 0.1)
@example(0.7, 0.7, 0.0, 5.0)
@example(1.0, 1.0, 1.0, 0.0)
@example(1.0, NEVER_STRONG, 1.0, 0.0)
def test_two_candidates_are_routellms_rule(win_rate, threshold, strong_usd, weak_usd):
    """Of two candidates the reference is chosen exactly where win_rate >= threshold, whatever they cost."""
    strong, weak = Candidate("strong", 0.5, strong_usd), Candidate("weak", win_rate, weak_usd)
    choice = choose([strong, weak], strong, threshold=threshold)
    assert (choice.model == "strong") == (win_rate >= threshold)
    assert choice.share == float(win_rate >= threshold)
    assert turning_point([strong, weak], strong) == win_rate
    rows = weigh_rows([[0.5, win_rate]], None if strong_usd is None or weak_usd is None else [[strong_usd, weak_usd]])
    if threshold <= 1.0:
        assert (rows.chosen(threshold)[0] == 0) == (win_rate >= threshold)


@given(fields())
def test_without_money_the_cheapest_answers_even_if_it_surely_loses(field):
    """The threshold that no win rate of a pair reaches leaves the cheapest of any number."""
    field = [Candidate(c.name, c.win_rate, 1.0 + i if c.usd is None else c.usd) for i, c in enumerate(field)]
    chosen = choose(field, field[0], threshold=NEVER_STRONG).ranking[0]
    assert chosen.relative_bill == min(relative_bills(field, field[0]))
    if len(field) > 2:
        assert chosen.candidate.usd == min(c.usd for c in field)


@given(fields(), st.one_of(THRESHOLDS, st.just(NEVER_STRONG)), st.floats(0.01, 1.0), st.sampled_from([None, 0.5]))
def test_weighed_once_they_are_chosen_and_turn_alike(field, threshold, level, worth):
    """The choice and its turning point are those that each function finds alone."""
    found = choose_and_turn(field, field[0], threshold=threshold, level=level, point_usd=worth)
    assert found[0] == choose(field, field[0], threshold=threshold, point_usd=worth)
    assert found[1] == turning_point(field, field[0], level=level, point_usd=worth)


@given(fields(min_size=3), THRESHOLDS)
def test_it_is_the_formula(field, threshold):
    """Where no two candidates nearly tie and no end of the scale is meant, the choice is the formula's minimum."""
    if any(c.usd is None for c in field) or threshold in (0.0, 1.0):
        return
    wanted = _obvious(field, field[0], threshold)
    assert wanted in (None, choose(field, field[0], threshold=threshold).model)


@given(fields(), THRESHOLDS, st.randoms())
def test_order_of_priced_candidates_changes_nothing(field, threshold, random):
    """Candidates in another order are ranked alike."""
    field = [Candidate(c.name, c.win_rate, 1.0 if c.usd is None else c.usd) for c in field]
    shuffled = random.sample(field, len(field))
    assert choose(shuffled, field[0], threshold=threshold) == choose(field, field[0], threshold=threshold)


@given(fields(), THRESHOLDS)
def test_worse_and_dearer_is_never_chosen(field, threshold):
    """A candidate, the reference apart, that is dearer and no better than another one is not chosen."""
    chosen = choose(field, field[0], threshold=threshold).ranking[0].candidate
    if len(field) > 2 and all(c.usd is not None for c in field) and chosen != field[0]:
        assert not [c for c in field if c.usd < chosen.usd and c.win_rate <= chosen.win_rate]


WORTHS = st.sampled_from([None, 0.1, 1.0, 3.0])


@given(fields(), THRESHOLDS, THRESHOLDS, WORTHS)
def test_a_higher_threshold_never_spends_more(field, first, second, point_usd):
    """The share of the chosen one never rises with the threshold."""
    low, high = sorted((first, second))
    shares = [choose(field, field[0], threshold=t, point_usd=point_usd).share for t in (low, high)]
    assert shares[1] <= shares[0]


@given(fields(), THRESHOLDS)
def test_the_ends_of_the_scale(field, threshold):
    """At 0 the reference answers; at 1 the cheapest, unless the reference surely beats it."""
    assert choose(field, field[0], threshold=0.0).model == "m0"
    last = choose(field, field[0], threshold=1.0).ranking
    if len(field) > 2 and all(c.usd is not None for c in field):
        cheapest = min(c.usd for c in field)
        sure = all(c.win_rate == 1.0 for c in field if c.usd == cheapest)
        assert last[0].candidate.usd == cheapest or sure


@given(fields(), THRESHOLDS, st.floats(0.01, 1.0), WORTHS)
def test_the_turning_point_is_where_the_share_falls_below_a_level(field, threshold, level, point_usd):
    """The share reaches a level exactly up to the turning point, rounding apart."""
    point = turning_point(field, field[0], level=level, point_usd=point_usd)
    reached = choose(field, field[0], threshold=threshold, point_usd=point_usd).share >= level
    if abs(threshold - point) > 1e-9:
        assert reached == (threshold < point) or (threshold == 0.0 and point == 0.0)


@given(fields(min_size=2, max_size=6), THRESHOLDS, WORTHS)
def test_rows_are_chosen_as_one_by_one(field, threshold, point_usd):
    """Many prompts at once give what each gives alone."""
    priced = all(c.usd is not None for c in field)
    usd = np.array([[c.usd for c in field]] * 3) if priced else None
    rows = weigh_rows(np.array([[c.win_rate for c in field]] * 3), usd, point_usd=point_usd)
    if not priced:
        field = [Candidate(c.name, c.win_rate, None) for c in field]
    choice = choose(field, field[0], threshold=threshold, point_usd=point_usd)
    assert [field[i].name for i in rows.chosen(threshold)] == [choice.model] * 3
    assert rows.relative_bills[0] == pytest.approx(relative_bills(field, field[0]))


@given(fields(min_size=3), THRESHOLDS)
@example([Candidate("m0", 0.5, 5e-324), Candidate("m1", 0.4, 2.0), Candidate("m2", 0.6, 0.0)], 0.5)
def test_an_unable_reference_sets_the_scale(field, threshold):
    """A reference that is unable is not chosen, and the others' relative bills are as if it were able."""
    without = choose(field[1:], field[0], threshold=threshold)
    assert "m0" not in [w.candidate.name for w in without.ranking]
    with_it = {w.candidate.name: w.relative_bill for w in choose(field, field[0], threshold=threshold).ranking}
    assert all(w.relative_bill == with_it[w.candidate.name] for w in without.ranking)


def test_a_dollar_is_worth_the_same_on_every_prompt():
    """With a worth in dollars a prompt of ten times the bills weighs its money ten times as much."""
    small = [Candidate("a", 0.5, 1.0), Candidate("b", 0.6, 0.4), Candidate("c", 0.9, 0.0)]
    large = [Candidate(c.name, c.win_rate, 10.0 * c.usd) for c in small]
    by_prompt = [choose(field, field[0], threshold=0.55).model for field in (small, large)]
    by_dollar = [choose(field, field[0], threshold=0.55, point_usd=1.0).model for field in (small, large)]
    assert by_prompt == ["a", "a"] and by_dollar == ["a", "b"]


def test_without_prices_bills_go_by_rank():
    """The first candidate counts as the dearest, the last as the cheapest, evenly spaced."""
    field = [Candidate("a", 0.5), Candidate("b", 0.6, 3.0), Candidate("c", 0.7)]
    assert relative_bills(field, field[0]) == [1.0, 0.5, 0.0]
    assert relative_bills(field, field[1]) == [0.5, 1.0, 0.0]


def test_a_known_choice():
    """Three models worked out by hand: between them at t = 0.7, the cheapest at 0.95, and by margin."""
    field = [Candidate("big", 0.5, 1.0), Candidate("middle", 0.55, 0.3), Candidate("small", 0.8, 0.0)]
    choice = choose(field, field[0], threshold=0.7)  # scores 0.7, 0.55 - 0.15 + 0.21 = 0.61, 0.8
    assert [w.candidate.name for w in choice.ranking] == ["middle", "big", "small"]
    assert choice.margin == pytest.approx(0.09) and choice.share == pytest.approx(0.3)
    assert choose(field, field[0], threshold=1.0).model == "small"
    assert choose(field, field[0], threshold=0.52).model == "big"


def test_without_win_rates_the_reference_answers():
    """A router that failed leaves the reference first and the others in their order."""
    field = [Candidate("a", None, 0.1), Candidate("b", None, 0.3), Candidate("c", None, 0.2)]
    choice = choose(field, field[1], threshold=1.0)
    assert [w.candidate.name for w in choice.ranking] == ["b", "a", "c"]
    assert choice.margin is None and turning_point(field, field[1]) is None


def test_wrong_arguments_are_named():
    """No candidate, a name twice, a threshold outside [0, 1] and unlike shapes are errors."""
    a, b = Candidate("a", 0.5, 1.0), Candidate("b", 0.5, 1.0)
    for field, threshold, message in (([], 0.5, "at least one"), ([a, a], 0.5, "each once"), ([a, b], 1.5, "1.5")):
        with pytest.raises(ValueError, match=message):
            choose(field, a, threshold=threshold)
    with pytest.raises(ValueError, match="shapes"):
        weigh_rows(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="column 3 of 2"):
        weigh_rows(np.zeros((2, 2)), None, reference=3)
    with pytest.raises(ValueError, match="threshold is -1"):
        weigh_rows(np.zeros((2, 2)), None).chosen(-1.0)
