"""The certificate: bets that may be looked at any time."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.core.certificate import Certificate, generation_error
from pointsman.core.comparison_plan import make_plan
from pointsman.core.threshold_chain import Chain, make_chain

_BETS = (0.9, 0.45, 0.22, 0.11, 0.055)
_WEIGHTS = (4.0, 3.0, 2.0, 1.5, 1.0)
_CHAIN = Chain(np.array([0.2, 0.5, 1.0]), np.array([0.2, 0.5, 1.0]))
_comparisons = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.9]),  # score, some on a threshold
        st.sampled_from([-1.0, -0.5, 0.0, 0.0, 0.0, 0.3, 1.0]),  # loss
        st.sampled_from([0.1, 0.5, 1.0]),  # probability
        st.integers(0, 30),  # not drawn before it
    ),
    max_size=25,
)


def _certificate(max_loss: float = 0.05, error: float = 0.05) -> Certificate:
    return Certificate(_CHAIN, max_loss=max_loss, error=error)


def _add(certificate: Certificate, comparisons: list) -> Certificate:
    for score, loss, probability, n_undrawn in comparisons:
        least = np.full(len(_CHAIN), 0.1)
        certificate.add(score, loss, probability=probability, least=least, n_undrawn=n_undrawn)
    return certificate


def _wealth(comparisons: list, threshold: float, max_loss: float) -> float:
    """The definition, request by request."""
    total = 0.0
    for bet, weight in zip(_BETS, _WEIGHTS, strict=True):
        wealth = 1.0
        for score, loss, probability, n_undrawn in comparisons:
            for _ in range(n_undrawn):
                wealth *= 1.0 + bet * 0.1 * max_loss
            wealth *= 1.0 + bet * 0.1 * (max_loss - (loss / probability if score < threshold else 0.0))
        total += weight / sum(_WEIGHTS) * wealth
    return total


def test_no_comparison_changes_nothing():
    """Rows that are none are added, as they are of a process that has drawn nothing."""
    certificate, none = Certificate(Chain([0.5], [0.5]), max_loss=0.1, error=0.05), np.zeros(0)
    before = certificate.to_dict()
    certificate.add_many(none, none, probabilities=none, least=np.ones(1), n_undrawn=np.zeros(0, dtype=np.int64))
    assert certificate.to_dict() == before


@given(_comparisons)
@example([(0.2, 1.0, 0.1, 0)])  # a score on a threshold is not below it
def test_wealth_is_the_product_of_the_bets(comparisons):
    """Each step's wealth is what its definition says, computed request by request."""
    found = np.exp(_add(_certificate(), comparisons).log_wealth)
    assert np.allclose(found, [_wealth(comparisons, t, 0.05) for t in _CHAIN.thresholds])


@given(_comparisons)
def test_no_bet_is_ever_lost_whole(comparisons):
    """Wealth stays positive whatever the losses are."""
    assert np.isfinite(_add(_certificate(), comparisons).log_wealth).all()


@given(_comparisons, _comparisons)
def test_parts_merge_to_the_whole(first, second):
    """Two processes' parts add up to the wealth, counts and estimates of one process that saw everything."""
    merged, whole = _add(_certificate(), first), _add(_certificate(), first + second)
    merged.merge(_add(_certificate(), second))
    assert np.allclose(merged.log_wealth, whole.log_wealth)
    assert (merged.n_requests, merged.n_compared) == (whole.n_requests, whole.n_compared)
    assert merged.estimate(2).value == pytest.approx(whole.estimate(2).value)


@given(_comparisons, _comparisons)
def test_a_restart_changes_nothing(before, after):
    """What was kept as JSON goes on as if it had never been away."""
    kept = Certificate.from_dict(json.loads(json.dumps(_add(_certificate(), before).to_dict())))
    whole = _add(_certificate(), before + after)
    _add(kept, after)
    assert np.array_equal(kept.log_wealth, whole.log_wealth)
    assert kept.n_open == whole.n_open


@given(_comparisons)
def test_what_has_opened_stays_open(comparisons):
    """A step that opened once stays open, whatever is lost after."""
    certificate, opened = _certificate(max_loss=0.5, error=0.5), 0
    for one in comparisons:
        _add(certificate, [one])
        assert certificate.n_open >= opened
        opened = certificate.n_open


def test_a_step_opens_behind_open_ones_only():
    """A step whose wealth suffices stays shut while one before it has not had enough."""
    certificate = _certificate(max_loss=0.5)
    _add(certificate, [(0.1, 1.0, 0.1, 0)] * 8)  # each of these costs every step
    certificate._log_wealth[2] += 100.0
    _add(certificate, [(0.9, 0.0, 1.0, 1)])
    assert certificate.log_wealth[2] > certificate.wanted
    assert certificate.n_open == 0
    assert certificate.threshold == -math.inf


def test_a_clean_record_opens_everything():
    """Without a loss the wealth of every step grows until it opens; the number needed is told beforehand."""
    certificate = _certificate()
    _add(certificate, [(0.1, 0.0, 1.0, 0)])
    needed = certificate.requests_needed(0)
    _add(certificate, [(0.1, 0.0, 1.0, 0)] * 1500)
    assert certificate.n_open == 3
    assert certificate.threshold == 1.0
    assert needed is not None and 10 < needed < 1500


def test_nothing_is_needed_where_nothing_helps():
    """Of a step that loses more than the bound no number of requests is told."""
    certificate = _add(_certificate(), [(0.1, 1.0, 1.0, 3)] * 20)
    assert certificate.requests_needed(0) is None


@pytest.mark.parametrize("values", ["ternary", "graded"])
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.8])
def test_the_bound_is_broken_in_few_streams(values, margin):
    """Looked at after every comparison, a step at the bound or above opens in at most 5 % of streams, plus error."""
    rng = np.random.default_rng(7)
    n_streams, n_requests, bound = 60, 800, 0.1
    broken = 0
    chain = Chain(np.array([0.3, 0.6, 1.0]), np.array([0.3, 0.6, 1.0]))
    mean = bound * (1.0 - margin) / 0.6  # of the loss of a prompt: step 1 has the loss bound (1 - margin)
    truth = mean * chain.thresholds
    for _ in range(n_streams):
        certificate = Certificate(chain, max_loss=bound, error=0.05)
        scores, luck, lots = rng.random((3, n_requests))
        if values == "ternary":  # P(1) = mean + 0.1, P(-1) = 0.1
            losses = np.where(luck < mean + 0.1, 1.0, np.where(luck > 0.9, -1.0, 0.0))
        else:
            losses = mean + 0.5 * (2.0 * luck - 1.0)
        begin, drawn = 0, np.arange(20)
        while len(drawn) == 20:  # a new plan after every 20 comparisons
            plan = make_plan(certificate, 0.5)
            cells = chain.cells(scores[begin:])
            probabilities = np.array([plan.probability(cell) for cell in range(4)])[cells]
            drawn = np.flatnonzero(lots[begin:] < probabilities)[:20]
            if not drawn.size:
                break
            certificate.add_many(
                scores[begin:][drawn],
                losses[begin:][drawn],
                probabilities=probabilities[drawn],
                least=plan.least(3),
                n_undrawn=np.diff(drawn, prepend=-1) - 1,
            )
            begin += int(drawn[-1]) + 1
        n_open = certificate.n_open
        broken += n_open > 0 and truth[n_open - 1] > bound * (1.0 - 1e-9)
    assert broken <= 0.05 * n_streams + 2.0 * math.sqrt(0.05 * 0.95 * n_streams)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_a_chain_rises_to_all_of_the_traffic(scores):
    """Thresholds and shares rise, and the last step sends every earlier prompt to the weak model."""
    chain = make_chain(np.array(scores))
    assert (np.diff(chain.thresholds) > 0).all()
    assert chain.shares[-1] == 1.0
    assert len(chain) <= 50


@settings(max_examples=50)
@given(_comparisons, st.floats(0.01, 1.0))
def test_a_plan_is_one_of_probabilities(comparisons, share):
    """Every cell may be drawn, none more surely than is possible, and no step's least is above its cells'."""
    plan = make_plan(_add(_certificate(), comparisons), share)
    least = plan.least(len(_CHAIN))
    for cell in range(len(_CHAIN) + 1):
        assert 0.0 < plan.probability(cell) <= 1.0
        assert (least[cell:] <= plan.probability(cell)).all()


def test_a_plan_compares_the_share_that_it_may():
    """Over traffic like that the chain was made from, the mean probability is the share."""
    scores = np.random.default_rng(1).random(500)
    chain = make_chain(scores)
    plan = make_plan(Certificate(chain, max_loss=0.05, error=0.05), 0.3)
    assert np.mean([plan.probability(int(c)) for c in chain.cells(scores)]) == pytest.approx(0.3, abs=0.01)


def test_a_plan_that_is_stuck_compares_the_others():
    """Where only a small part may open, what is left of the share goes to the rest: learning needs those."""
    scores = np.random.default_rng(2).random(500)
    certificate = Certificate(make_chain(scores), max_loss=0.05, error=0.05)
    for score in scores[:200]:
        least = np.ones(len(certificate.chain))
        certificate.add(float(score), float(score > 0.02), probability=1.0, least=least)
    plan = make_plan(certificate, 0.3)
    cells = certificate.chain.cells(scores)
    assert plan.reach <= 5
    assert plan.outside > 0.2
    assert np.mean([plan.probability(int(c)) for c in cells]) == pytest.approx(0.3, abs=0.01)


def test_generations_spend_the_error_and_no_more():
    """The errors of all generations sum to the error."""
    assert sum(generation_error(0.05, g) for g in range(60)) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="generation is -1"):
        generation_error(0.05, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": 1.5}, "loss is 1.5"),
        ({"probability": 0.0}, "probability is 0"),
        ({"least": np.full(3, 0.9)}, "none of `least` above it"),
        ({"n_undrawn": -1}, "n_undrawn is -1"),
    ],
)
def test_a_wrong_comparison_is_refused(change, message):
    """A comparison that would void the bound is refused, and says why."""
    given_ = {"loss": 0.0, "probability": 0.5, "least": np.full(3, 0.1), "n_undrawn": 0} | change
    with pytest.raises(ValueError, match=message):
        _certificate().add(0.1, given_.pop("loss"), **given_)


def test_damaged_state_is_refused():
    """State that was cut short, or is of another shape, is no certificate."""
    kept = _certificate().to_dict()
    for damaged in ({**kept, "sums": [[0.0]]}, {**kept, "thresholds": []}, {k: kept[k] for k in ("error",)}):
        with pytest.raises(ValueError, match="damaged"):
            Certificate.from_dict(damaged)
    with pytest.raises(ValueError, match="cannot be merged"):
        _certificate().merge(_certificate(max_loss=0.1))
