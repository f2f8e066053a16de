"""Generations of the autopilot, and a table replayed as traffic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.autopilot import (
    Policies,
    certified_share,
    expected_to_pay,
    first_score,
    make_joint_plan,
    reachable_saving,
    served_generation,
)
from pointsman.core.autopilot_simulation import Table, simulate
from pointsman.core.certificate import Certificate
from pointsman.core.threshold_chain import make_chain


def _table(n: int = 1500, *, rate: float = 0.1, seed: int = 0, useful: bool = True) -> Table:
    """Losses of mean `rate`, growing with the score where it is useful; a dollar saved a prompt, two to compare."""
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    chance = 3.0 * rate * scores**2 if useful else np.full(n, rate)
    losses = (rng.random(n) < chance).astype(float)
    return Table(scores, losses, np.stack([np.zeros(n), np.ones(n)]), np.full((2, n), 2.0))


def test_savings_are_earned_within_the_bound():
    """Everything is strong at first, then more and more is certified, and the true loss stays within the bound."""
    found = simulate(_table(), np.array([60, 400, 1500]), max_loss=0.05, share=0.5, rng=np.random.default_rng(1))
    shares = [moment.weak_share for moment in found.moments]
    assert shares[0] == 0.0 < shares[1] < shares[2]
    assert not found.broken
    assert found.worst_loss <= 0.05
    last = found.moments[-1]
    assert last.compared == pytest.approx(750, abs=120)
    assert last.compared_usd == 2.0 * last.compared
    assert 0.0 < last.saved_usd < 1500


def test_the_true_loss_is_the_tables():
    """Share and loss are those of the whole table at the threshold that served."""
    table = _table()
    moment = simulate(table, np.array([1500]), max_loss=0.05, share=1.0, rng=np.random.default_rng(2)).moments[0]
    order = np.sort(table.scores)
    threshold = order[round(moment.weak_share * 1500)]
    assert moment.policy_loss == pytest.approx(table.losses[table.scores < threshold].sum() / 1500)


def test_the_bound_holds_over_many_orders():
    """In at most 5 % of the orders, plus error, the true loss of what is served is ever above the bound."""
    table = _table(800, rate=0.12, useful=False)
    broken = [
        simulate(table, np.array([800]), max_loss=0.06, share=0.6, rng=np.random.default_rng(seed)).broken
        for seed in range(20)
    ]
    assert sum(broken) <= 0.05 * 20 + 2.0 * np.sqrt(0.05 * 0.95 * 20)


def test_traffic_beyond_the_table_repeats_it():
    """More requests than prompts come from further orders of the same table."""
    found = simulate(_table(100), np.array([100, 350]), max_loss=0.3, share=1.0, rng=np.random.default_rng(0))
    assert found.moments[-1].requests == 350
    assert found.moments[-1].weak_share > 0.9


def test_a_better_generation_takes_over_and_a_useless_one_never_starts():
    """A learner that knows the losses gets a generation of its own, one that knows nothing gets none."""
    table = _table(1500, rate=0.15, useful=False)
    run = {"max_loss": 0.05, "share": 1.0}

    def oracle(rows, losses):
        return table.losses, losses

    def useless(rows, losses):
        return np.arange(1500) % 7.0, rows % 7.0

    def served(learn):
        return simulate(table, np.array([1500]), rng=np.random.default_rng(1), learn=learn, **run)

    assert len(served(useless).generations) == 1
    better, plain = served(oracle), served(None)
    assert better.generations[:2] == (0, 300)
    assert better.moments[-1].generation >= 1
    assert better.moments[-1].weak_share > 1.5 * plain.moments[-1].weak_share
    assert not better.broken


def _certificates() -> list[Certificate]:
    chains = [make_chain(np.arange(60.0)), make_chain(np.arange(10.0))]
    return [Certificate(chain, max_loss=0.05, error=0.05) for chain in chains]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10)), min_size=1, max_size=20), st.floats(0.05, 0.5))
def test_a_joint_plan_never_draws_less_than_it_says(cells, share):
    """The least probability of each step is no more than that of any prompt it would send to the weak model."""
    certificates = _certificates()
    plan = make_joint_plan(certificates, share)
    for pair in cells:
        for i, certificate in enumerate(certificates):
            least = plan.least(i, len(certificate.chain))
            assert (least[pair[i] :] <= plan.probability(pair) + 1e-12).all()


def test_the_generation_with_the_highest_certified_share_serves():
    """The earlier one serves until the later one has certified more."""
    first, second = _certificates()
    assert served_generation([first, second]) == 0
    for _ in range(200):
        second.add(0.5, 0.0, probability=1.0, least=np.ones(len(second.chain)))
    assert certified_share(second) == 1.0
    assert served_generation([first, second]) == 1


def test_what_can_be_saved_is_measured():
    """Of a pair the longest prefix by score whose weighted loss is within the bound, equal scores together."""

    def share(losses: np.ndarray, weights: np.ndarray, max_loss: float, scores: tuple[float, ...]) -> float:
        policies = Policies(np.array(scores))
        return reachable_saving(policies, losses, weights, np.ones(4), max_loss=max_loss, n=float(weights.sum()))

    losses, apart = np.array([0.0, 1.0, -1.0, 1.0]), (0.1, 0.2, 0.3, 0.4)
    assert share(losses, np.ones(4), 0.0, apart) == 0.75
    assert share(losses, np.array([1.0, 1.0, 1.0, 5.0]), 0.2, apart) == pytest.approx(3 / 8)
    assert share(np.ones(4), np.ones(4), 0.1, apart) == 0.0
    assert share(losses, np.ones(4), 0.0, (0.1, 0.3, 0.3, 0.3)) == 0.25


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(-2, 2), st.integers(1, 3)), max_size=12))
def test_savings_of_many_are_those_of_the_best_threshold(rows):
    """As found by trying each threshold: only comparisons whose candidate it chooses count."""
    since = np.array([row[0] for row in rows], dtype=np.float64)
    until = since + np.array([row[1] for row in rows], dtype=np.float64)
    losses, weights = (np.array([row[i] for row in rows], dtype=np.float64) for i in (2, 3))
    until, gains, n = np.where(until > 12.0, np.inf, until), 1.0 / (1.0 + since), 30.0
    tried = [(since < t) & (t <= until) for t in np.arange(0.5, 12.0)]
    best = max([(gains * weights)[on].sum() for on in tried if (losses * weights)[on].sum() <= 0.1 * n], default=0.0)
    found = reachable_saving(Policies(since, until), losses, weights, gains, max_loss=0.1, n=n)
    assert found == pytest.approx(max(best, 0.0) / n)


def test_only_what_is_clearly_better_is_expected_to_pay():
    """The same scores again, and noise, are no reason for a new generation; scores that know the losses are."""
    rng = np.random.default_rng(0)
    losses = (rng.random(400) < 0.3).astype(float)
    noise, ones = rng.random(400), np.ones(400)
    known, unknown = Policies(losses), Policies(noise)
    assert not expected_to_pay(unknown, unknown, losses, ones, max_loss=0.05)
    assert expected_to_pay(known, unknown, losses, ones, max_loss=0.05)


def test_a_score_that_is_somewhat_better_is_expected_to_pay_and_an_equal_one_is_not():
    """Of 900 comparisons, most of them of prompts that score low, a few carry large weights: it is told even so."""
    begun = np.zeros(2)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hard, noise = rng.random(9000), 0.6 * rng.standard_normal((2, 9000))
        serving, equal = hard + noise
        probability = np.where(serving < np.median(serving), 0.2, 0.02)
        drawn = np.flatnonzero(rng.random(9000) < probability)[:900]
        losses = (rng.random(len(drawn)) < 0.5 * hard[drawn]).astype(float)
        for i, scores in enumerate((hard, equal)):
            new, now = Policies(scores[drawn]), Policies(serving[drawn])
            begun[i] += expected_to_pay(new, now, losses, 1.0 / probability[drawn], max_loss=0.1)
    assert begun[0] >= 8
    assert begun[1] <= 3


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_first_score_rises_with_win_rate_and_length(rate, other, short, long):
    """A higher win rate or a longer prompt never scores lower."""
    low, high = sorted((rate, other))
    few, many = sorted((short, long))
    scores = first_score(np.array([low, high]), np.array([float(few), float(many)]))
    assert scores[0] <= scores[1]
    assert np.isfinite(scores).all()
