"""The quality guarantee: valid at every sample size, and honest where it cannot be given."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointsman.core.binomial import binomial_pmf, log_factorials, upper_bound
from pointsman.core.guarantee import certify_threshold
from pointsman.core.loss_tests import TernaryTest, betting_p_value

N_DRAWS = 300
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / N_DRAWS)


@st.composite
def labels(draw):
    """Win rates with ties, and binary scores of both models."""
    n = draw(st.integers(1, 400))
    binary = arrays(np.float64, n, elements=st.sampled_from([0.0, 1.0]))
    rates = draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])))
    return rates, draw(binary), draw(binary)


def true_loss(rates, losses, threshold):
    return losses[rates < threshold].sum() / len(losses)


def share_of_violations(rates, strong, weak, *, max_loss, n_labels):
    """How often a threshold certified on a random draw from this population breaks the bound on all of it."""
    rng = np.random.default_rng(0)
    violations, shares = 0, []
    for _ in range(N_DRAWS):
        rows = rng.integers(0, len(rates), n_labels)
        found = certify_threshold(rates[rows], strong[rows], weak[rows], max_loss=max_loss)
        violations += true_loss(rates, strong - weak, found.threshold) > max_loss
        shares.append(found.strong_share)
    return violations / N_DRAWS, float(np.mean(shares))


def trinomial(n, plus, minus):
    """P(n_plus = i, n_minus = j) of n draws, shape (n + 1, n + 1)."""
    log_factorial = log_factorials(n)
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    rest = np.maximum(n - i - j, 0)
    ways = log_factorial[n] - log_factorial[i] - log_factorial[j] - log_factorial[rest]
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.where(i > 0, i * np.log(plus), 0) + np.where(j > 0, j * np.log(minus), 0)
        powers = powers + np.where(rest > 0, rest * np.log(max(0.0, 1 - plus - minus)), 0)
    return np.where(i + j <= n, np.exp(ways + powers), 0.0)


@pytest.mark.parametrize(("n", "max_loss"), [(40, 0.1), (90, 0.05), (120, 0.2)])
def test_the_exact_test_keeps_its_level_by_enumeration(n, max_loss):
    """Over all samples of size n, p <= 5 % has probability at most 5 %, whatever the distribution of the losses."""
    test = TernaryTest(n, max_loss, 0.05)
    rejected = np.zeros((n + 1, n + 1), dtype=bool)
    for plus in range(n + 1):
        for minus in range(n + 1 - plus):
            rejected[plus, minus] = test.p_value(plus - minus, plus + minus) <= 0.05
    assert rejected.any()
    for q in np.concatenate((np.linspace(max_loss, 1.0, 60), [max_loss + 1e-6])):
        assert trinomial(n, (q + max_loss) / 2, (q - max_loss) / 2)[rejected].sum() <= 0.05 + 1e-9


@given(st.integers(20, 300), st.integers(0, 20), st.integers(0, 30), st.sampled_from([0.02, 0.1, 0.3]))
def test_exact_p_values_rise_with_the_loss_and_with_its_spread(n, total, more, max_loss):
    """What lets one test stand for a run of thresholds: a larger sum or more losses never lower the p-value."""
    test = TernaryTest(n, max_loss, 0.05)
    base = test.p_value(total, min(n, total + more))
    assert base <= test.p_value(total + 1, min(n, total + more)) + 1e-12
    assert base <= test.p_value(total, min(n, total + more + 1)) + 1e-12


def test_the_betting_test_keeps_its_level():
    """At the bound itself, p <= 5 % in at most 5 % of samples, for a skewed graded loss."""
    rng = np.random.default_rng(0)
    values, chances = np.array([-0.4, 0.0, 0.3, 1.0]), np.array([0.1, 0.7, 0.1, 0.1])
    max_loss = float(values @ chances)
    draws = rng.choice(values, size=(N_DRAWS, 400), p=chances)
    assert np.mean([betting_p_value(losses, max_loss, error=0.05) <= 0.05 for losses in draws]) <= ALLOWED


@pytest.mark.parametrize("max_loss", [0.01, 0.02, 0.05])
def test_the_bound_holds_on_draws_from_real_outcomes(shared_data, max_loss):
    """Of 300 calibration draws from MMLU outcomes at most 5 % give a threshold that breaks the bound."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(shared_data / "routellm_mmlu_dev.parquet").to_pydict()
    length = np.array([len(prompt) for prompt in table["prompt"]])
    rates = length.argsort().argsort() / len(length)
    strong, weak = np.array(table["strong"]), np.array(table["weak"])
    violations, strong_share = share_of_violations(rates, strong, weak, max_loss=max_loss, n_labels=1500)
    assert violations <= ALLOWED
    assert strong_share < 1.0


@pytest.mark.parametrize("graded", [False, True])
def test_the_bound_holds_where_the_risk_is_known(graded):
    """On a synthetic population whose loss grows with the win rate, with binary and with graded scores."""
    rng = np.random.default_rng(1)
    rates = rng.random(20_000)
    weak = (rng.random(20_000) < 0.6).astype(float)
    strong = np.maximum(weak, rng.random(20_000) < rates**2)
    if graded:
        weak, strong = 0.5 * weak + 0.1, 0.7 * strong + 0.1 * rng.random(20_000)
    violations, strong_share = share_of_violations(rates, strong, weak, max_loss=0.03, n_labels=300)
    assert violations <= ALLOWED
    assert strong_share < 0.97


@given(labels(), st.sampled_from([0.02, 0.1, 0.4]))
def test_bisection_equals_walking_step_by_step(table, max_loss):
    """The certified threshold is the one that testing every step in turn gives."""
    rates, strong, weak = table
    losses, test = strong - weak, TernaryTest(len(rates), max_loss, 0.05)
    reached = 0.0
    for threshold in sorted({*rates, 1.0}):
        sent = losses[rates < threshold]
        if test.p_value(sent.sum(), np.abs(sent).sum()) > 0.05:
            break
        reached = threshold
    found = certify_threshold(rates, strong, weak, max_loss=max_loss, confidence=0.95)
    assert found.threshold == (reached if (rates >= reached).mean() < 1 else 0.0)
    assert found.loss == pytest.approx(true_loss(rates, losses, found.threshold))


@given(labels())
def test_a_looser_bound_never_costs_more(table):
    """A larger loss that is allowed, or less confidence, never sends more prompts to the strong model."""
    shares = [certify_threshold(*table, max_loss=bound).strong_share for bound in (0.02, 0.05, 0.2)]
    assert shares == sorted(shares, reverse=True)
    surer = certify_threshold(*table, max_loss=0.1, confidence=0.99).strong_share
    assert surer >= certify_threshold(*table, max_loss=0.1, confidence=0.9).strong_share


def test_too_few_labels_give_no_threshold_and_say_how_many_are_needed():
    """With 100 labels a loss of 1 % cannot be excluded; with the number that is stated it can."""
    rng = np.random.default_rng(3)

    def draw(n):
        rates = rng.random(n)
        weak = (rng.random(n) < 0.7).astype(float)
        return rates, np.maximum(weak, rng.random(n) < rates**3), weak

    few = certify_threshold(*draw(100), max_loss=0.01)
    assert not few.certified and few.threshold == 0.0 and few.strong_share == 1.0 and few.loss == 0.0
    assert 100 < few.labels_needed < 2000
    enough = [certify_threshold(*draw(few.labels_needed), max_loss=0.01).certified for _ in range(50)]
    assert np.mean(enough) > 0.9


def test_a_constant_router_certifies_nothing_and_no_label_would_help():
    """A router that cannot tell prompts apart either saves all or nothing; here all would lose too much."""
    found = certify_threshold(np.full(2000, 0.5), np.ones(2000), np.arange(2000) % 2 * 1.0, max_loss=0.02)
    assert not found.certified and found.labels_needed is None and found.threshold == 0.0


def test_equal_models_are_certified_for_the_weak_one():
    """Where strong equals weak everywhere nothing is lost, and the weak model may answer all."""
    rates = np.random.default_rng(4).random(1000)
    found = certify_threshold(rates, np.ones(1000), np.ones(1000), max_loss=0.02)
    assert found.certified and found.strong_share == 0.0 and found.test == "exact"


def test_many_graded_labels_hold_some_out_to_choose_thresholds():
    """More than 5,000 graded labels are certified quickly, near the threshold of known loss."""
    rng = np.random.default_rng(5)
    rates = rng.random(30_000)
    weak = rng.uniform(0.2, 0.4, 30_000)
    found = certify_threshold(rates, weak + 0.1 * rates, weak, max_loss=0.02)
    truth = math.sqrt(0.02 * 2 / 0.1)  # mean loss of threshold t is 0.1 t^2 / 2
    assert found.test == "betting"
    assert truth - 0.05 < found.threshold <= truth


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"win_rates": np.array([0.5, np.nan])}, r"win_rates\[1\] is nan"),
        ({"win_rates": np.array([0.5])}, "one win rate per label"),
        ({"strong": np.array([1.0, 7.5])}, r"strong\[1\] is 7\.5, wanted a number in \[0, 1\]"),
        ({"weak": np.array([-1.0, 0.0])}, r"weak\[0\] is -1"),
        ({"weak": np.array([np.nan, 0.0])}, r"weak\[0\] is nan"),
        ({"max_loss": 0.0}, r"max_loss is 0\.0"),
        ({"confidence": 1.0}, r"confidence is 1\.0"),
    ],
)
def test_bad_labels_are_refused(changed, message):
    """NaN, scores outside [0, 1] and impossible bounds are errors, never a threshold."""
    arguments = {"win_rates": np.array([0.2, 0.5]), "strong": np.ones(2), "weak": np.zeros(2), "max_loss": 0.1}
    with pytest.raises(ValueError, match=message):
        certify_threshold(**{**arguments, **changed})


@given(st.integers(0, 40), st.integers(1, 60), st.sampled_from([0.001, 0.05, 0.3]))
def test_the_binomial_bound_has_exactly_its_error(successes, more, error):
    """At the bound, seeing so few successes has probability `error`."""
    log_factorial = log_factorials(successes + more)
    bound = upper_bound(successes, log_factorial, error)
    assert binomial_pmf(bound, log_factorial)[: successes + 1].sum() == pytest.approx(error, rel=1e-4)
    assert binomial_pmf(bound, log_factorial).sum() == pytest.approx(1.0)
