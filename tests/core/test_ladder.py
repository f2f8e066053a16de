"""Rungs of many candidates: which of them a prompt goes to at each threshold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.autopilot import make_joint_plan
from pointsman.core.autopilot_simulation import Table, simulate
from pointsman.core.certificate import Certificate
from pointsman.core.choice import Candidate, choose
from pointsman.core.comparison_plan import make_plan
from pointsman.core.ladder import draw_rung, fixed_bills, ladder, length_shift, rung_at
from pointsman.core.threshold_chain import Chain, make_chain

_rates = st.lists(st.integers(0, 40).map(lambda k: k / 40), min_size=2, max_size=5)
_thresholds = st.floats(0.001, 0.999)


@given(_rates, st.data(), _thresholds)
def test_a_ladder_is_the_rule_of_choice(rates, data, threshold):
    """At every threshold the rung is the candidate that `choose` has, where bills are the fixed ones."""
    n = len(rates)
    cheaper = data.draw(st.lists(st.integers(1, 9).map(lambda k: k / 10), min_size=n - 2, max_size=n - 2))
    bills = [1.0, *cheaper, 0.0]
    names = [str(i) for i in range(n)]
    candidates = [Candidate(*each) for each in zip(names, rates, bills, strict=True)]
    chosen = choose(candidates, candidates[0], threshold=threshold, point_usd=1.0).ranking
    ours = rung_at(ladder(rates, bills), threshold)
    scores = {each.candidate.name: each.score for each in chosen}
    assert scores[names[ours]] == pytest.approx(chosen[0].score, abs=1e-9)


@given(_rates, st.floats(-0.2, 0.2))
def test_rungs_follow_each_other_from_dear_to_cheap(rates, shift):
    """Each rung begins where the one before ends, is cheaper, and none is empty; the last ends at 1."""
    bills = fixed_bills([5.0, *np.linspace(4.0, 1.0, len(rates) - 1)])
    rungs = ladder(rates, bills, shift=shift)
    for before, after in pairwise(rungs):
        assert before.until == after.since
        assert bills[before.candidate] > bills[after.candidate]
    assert all(0.0 <= rung.since < rung.until for rung in rungs)
    assert not rungs or rungs[-1].until == 1.0


@given(st.floats(0, 1), st.floats(0.001, 1.0))
def test_of_a_pair_the_rung_begins_at_the_win_rate(rate, threshold):
    """Strong iff the win rate is at least the threshold."""
    assert rung_at(ladder([0.5, rate], [1.0, 0.0]), threshold) == int(rate < threshold)


def test_what_cannot_save_is_never_chosen():
    """Candidates as dear as the reference, and dearer ones that are no better, have no rung."""
    assert ladder([0.5, 0.1, 0.1], [1.0, 1.0, 1.3]) == ()
    assert [rung.candidate for rung in ladder([0.5, 0.6, 0.6, 0.6], [1.0, 0.5, 0.0, 0.0])] == [2]


def test_bills_are_fixed_between_the_cheapest_and_the_reference():
    """1 of the reference, 0 of the cheapest; by rank without prices; all 1 where nothing is cheaper."""
    assert fixed_bills([3.0, 2.0, 1.0]) == (1.0, 0.5, 0.0)
    assert fixed_bills([3.0, None, 1.0]) == (1.0, 0.5, 0.0)
    assert fixed_bills([1.0, 2.0, 1.0]) == (1.0, 1.0, 1.0)
    assert length_shift(500) == 0.0
    assert length_shift(20) < 0.0 < length_shift(5000)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True), st.floats(0.01, 1.0))
def test_no_candidate_is_drawn_less_than_the_plan_says(cells, share):
    """The probabilities of a prompt's candidates sum to at most 1, and none is below the least of its steps."""
    certificate = Certificate(make_chain(np.arange(12.0)), max_loss=0.05, error=0.05)
    plan = make_plan(certificate, share, most=4)
    found = plan.of_rungs(sorted(cells), 4)
    least = plan.least(len(certificate.chain))
    assert sum(found) <= 1.0 + 1e-12
    for cell, probability in zip(sorted(cells), found, strict=True):
        assert (least[cell:] <= probability + 1e-12).all()


def test_a_candidate_is_drawn_as_often_as_told():
    """Each candidate's part of the level is its probability, and the rest is nobody's."""
    probabilities = {4: 0.25, 7: 0.5}
    assert draw_rung(probabilities, 0.2) == (4, 0.25)
    assert draw_rung(probabilities, 0.3) == (7, 0.5)
    assert draw_rung(probabilities, 0.75) is None


@given(st.lists(st.dictionaries(st.integers(1, 4), st.integers(0, 11), max_size=4), min_size=2, max_size=2),
       st.floats(0.01, 1.0))  # fmt: skip
def test_generations_of_many_candidates_share_their_draws(cells, share):
    """A candidate is drawn as often as each generation wants on average, never less than its own steps' least."""
    certificates = [Certificate(make_chain(np.arange(12.0)), max_loss=0.05, error=0.05) for _ in cells]
    joint = make_joint_plan(certificates, share, most=4)
    found = joint.of_rungs(cells, 4)
    assert set(found) == {candidate for own in cells for candidate in own}
    assert sum(found.values()) <= 1.0 + 1e-12
    for i, own in enumerate(cells):
        least = joint.least(i, 12, many=True)
        for candidate, cell in own.items():
            assert (least[cell:] <= found[candidate] + 1e-12).all()


def _candidates(rng: np.random.Generator, n: int, losses: tuple[float, float]) -> Table:
    """Of three: each prompt goes to the second model after its own point, and to the third half-way from there."""
    since = rng.random(n)
    turns = (1.0 + since) / 2.0
    lost = np.stack([rng.random(n) < each for each in losses]).astype(float)
    zero = np.zeros((3, n))
    return Table(np.stack([since, turns]), lost, zero, np.zeros((3, 2, n)), np.stack([turns, np.full(n, 1.0)]))


def test_the_bound_holds_for_many_candidates():
    """Where the last step whose loss is within the bound is at it, few streams are ever above the bound."""
    n_streams, bound, most = 30, 0.1, 2
    chain = Chain(np.linspace(0.2, 1.0, 5), np.linspace(0.2, 1.0, 5))
    broken = 0
    for seed in range(n_streams):
        rng = np.random.default_rng(seed)
        table = _candidates(rng, 600, (0.12, 0.3))
        on_rung = (table.scores[:, :, None] < chain.thresholds) & (chain.thresholds <= table.untils[:, :, None])
        truth = (np.array([0.12, 0.3])[:, None, None] * on_rung).sum(axis=0).mean(axis=0)
        certificate, cells = Certificate(chain, max_loss=bound, error=0.05), chain.cells(table.scores)
        for chunk in np.arange(600).reshape(-1, 30):
            plan, drawn = make_plan(certificate, 0.8, most=most), []
            for row in chunk.tolist():
                others = np.flatnonzero(cells[:, row] < 5).tolist()
                each = plan.of_rungs(cells[others, row].tolist(), most)
                drawn.append(draw_rung(dict(zip(others, each, strict=True)), rng.random()))
            rows = [int(row) for row, found in zip(chunk, drawn, strict=True) if found is not None]
            if not rows:
                continue
            others, probabilities = (np.array(each) for each in zip(*filter(None, drawn), strict=True))
            certificate.add_many(
                table.scores[others, rows], table.losses[others, rows], probabilities=probabilities,
                least=plan.least(5), untils=table.untils[others, rows],
                n_undrawn=np.diff(np.array(rows) - chunk[0], prepend=-1) - 1,
            )  # fmt: skip
        n_open = certificate.n_open
        broken += n_open > 0 and truth[n_open - 1] > bound * 1.01
    assert 0 <= broken <= 0.05 * n_streams + 2.0 * np.sqrt(0.05 * 0.95 * n_streams)


def test_many_candidates_earn_their_savings():
    """Where only the cheapest loses, prompts leave the reference, and the true loss is that of who is chosen."""
    rng = np.random.default_rng(0)
    table = _candidates(rng, 1500, (0.0, 0.6))
    found = simulate(table, np.array([1500]), max_loss=0.1, share=0.6, rng=rng)
    moment = found.moments[0]
    assert moment.weak_share > 0.5
    assert not found.broken
    assert 0.0 < moment.policy_loss < 0.1


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_two_candidates_are_a_pair(seed):
    """With one candidate beside the reference everything is as for a pair, to the last digit."""
    rng = np.random.default_rng(seed)
    scores, losses = rng.random(300), (rng.random(300) < 0.05).astype(float)
    saved, compared = np.stack([np.zeros(300), np.ones(300)]), np.ones((2, 300))
    of_two = Table(scores[None], losses[None], saved, compared[:, None], np.full((1, 300), 1.0))
    tables = (Table(scores, losses, saved, compared), of_two)
    one, two = (
        simulate(table, np.array([200, 600]), max_loss=0.2, share=0.5, rng=np.random.default_rng(seed))
        for table in tables
    )
    assert one == two


def test_a_rung_that_ends_counts_for_its_steps_alone():
    """A comparison moves the wealth, the loss and the share of the steps on its rung, and of no other."""
    certificate = Certificate(make_chain(np.array([0.2, 0.4, 0.6, 0.8])), max_loss=0.1, error=0.05)
    certificate.add(0.2, 1.0, probability=0.5, least=np.full(4, 0.5), until=0.6)
    assert [certificate.estimate(k).value for k in range(4)] == [2.0, 2.0, 0.0, 0.0]
    assert (certificate.log_wealth > 0.0).tolist() == [False, False, True, True]
    assert np.cumsum(certificate.weights())[:-1].tolist() == [2.0, 2.0, 0.0, 0.0]
