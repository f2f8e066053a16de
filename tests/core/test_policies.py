"""Rules for the threshold: shares that are held, money that is paced, bounds, and how they compose."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.core.pacing import Pacer, PacerCosts
from pointsman.core.policy import Bounds, Ruling, compose, hard_limit
from pointsman.core.recent import NEVER_STRONG, RecentWinRates
from pointsman.core.share_control import GAIN, ShareControl
from pointsman.core.traffic import TrafficShape

SHARES = st.floats(0, 1)
RATES = st.lists(st.floats(0, 1), min_size=1, max_size=300)
USD = st.floats(1e-6, 1e3)
DAY = 20_000 * 86_400.0


def held(rates, target, *, recent=None):
    """Where a share controller sends prompts with these win rates."""
    recent, control, went = recent or RecentWinRates(size=256), ShareControl(target), []
    for rate in rates:
        went.append(rate >= control.threshold(recent))
        recent.add(rate)
        control.count(strong=went[-1])
    return np.array(went)


@given(RATES, SHARES)
def test_recent_win_rates_are_the_quantiles_of_the_last_ones(rates, share):
    """Once the stand-ins have gone, the threshold is NumPy's quantile of the last win rates."""
    recent = RecentWinRates(size=20)
    for rate in [0.25] * 20 + rates:
        recent.add(rate)
    last = ([0.25] * 20 + rates)[-20:]
    expected = 0.0 if share == 1 else NEVER_STRONG if share == 0 else np.quantile(last, 1 - share)
    assert recent.threshold(share) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30).map(sorted), SHARES, SHARES)
def test_thresholds_never_rise_with_the_share(quantiles, one, other):
    """A larger share never gives a higher threshold, whatever the win rates are."""
    recent = RecentWinRates(quantiles)
    assert recent.threshold(max(one, other)) <= recent.threshold(min(one, other))


def test_stand_ins_leave_in_an_order_that_keeps_their_distribution():
    """With half of them replaced, those that are left still have the calibration's median."""
    recent = RecentWinRates(np.linspace(0.2, 0.4, 11).tolist(), size=1000)
    for _ in range(500):
        recent.add(1.0)
    assert recent.threshold(0.75) == pytest.approx(0.3, abs=0.005)


@given(st.lists(st.sampled_from([0.0, 0.2, 0.2, 0.7, 1.0]) | st.floats(0, 1), min_size=1, max_size=400), SHARES)
@example([1.0] * 400, 0.3)  # ties alone, where a threshold can only take all or none
@example([0.5, 0.9] * 200, 0.0)
@example([0.5, 0.9] * 200, 1.0)
@example([i / 400 for i in range(400)], 0.5)  # never seen before, each higher than the last
def test_the_share_is_held_within_its_bound_for_any_traffic(rates, target):
    """Any prompts in a row differ from the target by at most (1 + 2 gain) / gain of them, ties and trends included."""
    behind = np.concatenate(([0.0], np.cumsum(held(rates, target) - target)))
    assert behind.max() - behind.min() <= (1 + 2 * GAIN) / GAIN + 1e-9


def test_a_share_is_made_up_for_after_an_outage_but_not_without_end():
    """Ten thousand prompts that all had to go to strong are paid back by some dozens, not by thousands."""
    control = ShareControl(0.3)
    for _ in range(10_000):
        control.count(strong=True)
    went = 0
    while control.owed < 0:
        control.count(strong=False)
        went += 1
    assert 0 < went <= (0.3 + GAIN) / GAIN / 0.3 + 1


def test_one_sided_bounds_keep_no_account_of_the_other_side():
    """A ceiling is not raised by a week below it, and a floor not lowered by a week above it."""
    ceiling, floor = ShareControl(0.4, at_least=False), ShareControl(0.4, at_most=False)
    for _ in range(100):
        ceiling.count(strong=False)
        floor.count(strong=True)
    assert ceiling.owed == floor.owed == 0.0


def test_a_share_is_held_through_a_shift_of_real_traffic(shared_data):
    """MMLU turning into GSM8K: within a point of the target in each part, where the calibration alone is not."""
    pq = pytest.importorskip("pyarrow.parquet")
    from pointsman.serve.checkpoints.load import load_checkpoint, load_router

    checkpoint = load_checkpoint("mf")
    router, rng = load_router(checkpoint), np.random.default_rng(0)
    parts = []
    for name in ("routellm_mmlu_dev", "routellm_gsm8k_dev"):
        prompts = pq.read_table(shared_data / f"{name}.parquet", columns=["prompt"]).to_pydict()["prompt"][:600]
        parts.append(rng.choice(router.win_rates(prompts), 2500))
    went = held(np.concatenate(parts).tolist(), 0.3, recent=RecentWinRates(checkpoint.calibration.quantiles))
    assert abs(went[:2500].mean() - 0.3) < 0.01
    assert abs(went[2500:].mean() - 0.3) < 0.01
    assert max(abs((part >= checkpoint.calibration.threshold(0.3)).mean() - 0.3) for part in parts) > 0.02


@given(
    st.floats(0, 1), st.lists(st.floats(0, 1), max_size=3), SHARES, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)
)
def test_bounds_always_hold_and_the_rule_that_decided_is_named(base, budgets, win_rate, low, high, share):
    """The threshold stays within floor and ceiling, and is that of the rule that the decision names."""
    bounds = Bounds(min(low, high), max(low, high))
    rules = [
        Ruling(base, "fixed"),
        *(Ruling(t, f"budget:{i}") for i, t in enumerate(budgets)),
        Ruling(share, "share floor"),
    ]
    ruling = compose(rules[0], budgets=rules[1:-1], least=rules[-1], bounds=bounds)
    assert bounds.floor <= ruling.threshold <= bounds.ceiling
    named = {rule.policy: rule.threshold for rule in rules} | {"floor": bounds.floor, "ceiling": bounds.ceiling}
    assert named[ruling.policy] == ruling.threshold
    assert (win_rate >= ruling.threshold) == (win_rate >= named[ruling.policy])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_budgets_only_raise_a_threshold(base, one, other):
    """A budget that asks for more is followed, one that asks for less changes nothing, and higher is never lower."""
    rulings = [
        compose(Ruling(base, "fixed"), budgets=[Ruling(budget, "budget:day")]) for budget in sorted((one, other))
    ]
    assert base <= rulings[0].threshold <= rulings[1].threshold
    assert rulings[0].policy == ("budget:day" if min(one, other) > base else "fixed")


def test_a_wall_is_above_every_win_rate():
    """A hard budget that is spent sends nothing to strong, not even a win rate of 1."""
    assert hard_limit("budget:day").threshold > 1.0
    assert hard_limit("budget:day").policy == "budget:day exhausted"


@pytest.mark.parametrize(("floor", "ceiling"), [(0.6, 0.5), (-0.1, 1.0), (0.0, 1.5), (math.nan, 1.0)])
def test_bounds_that_are_none_are_refused(floor, ceiling):
    """A floor above the ceiling, or one of them outside [0, 1]."""
    with pytest.raises(ValueError, match="wanted 0 <= floor <= ceiling <= 1"):
        Bounds(floor, ceiling)


def affordable_share(left_usd, rest, sure, *, strong_usd, weak_usd):
    """Share of strong answers that the money lasts for, weak ones being paid for `rest`; spread over `sure` prompts."""
    if strong_usd <= weak_usd:
        return 1.0
    return min(max((left_usd - rest * weak_usd) / (sure * (strong_usd - weak_usd)), 0.0), 1.0)


@given(st.floats(-10, 50), st.floats(0, 86_399), st.integers(0, 500), st.floats(0, 0.02), st.booleans())
def test_the_pacers_share_is_the_mean_of_what_the_money_lasts_for(left, second, n, weak, forecast):
    """Over the numbers of prompts that may come, each with its probability."""
    pacer, recent = a_pacer(forecast=forecast), RecentWinRates(size=128)
    pacer.costs.weak_usd = weak
    for i in range(n):
        pacer.count(DAY + second * i / max(n, 1))
    now = DAY + second
    pacer.threshold(now, left, recent)
    costs = {"strong_usd": pacer.costs.strong_usd, "weak_usd": weak}
    found = pacer._to_come(now)
    wanted = sum(weight * affordable_share(left, rest, pacer._sure(rest), **costs) for weight, rest in found)
    assert pacer.share == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=10)
@given(st.floats(0, 50), st.integers(1, 200))
def test_prompts_to_come_of_a_moment_ago_serve_as_well(left, n_more):
    """Asked with every one of a rush of prompts, the share is what it is where it is asked once, within some points."""
    asked, once = a_pacer(), a_pacer()
    recent, now = RecentWinRates(size=128), DAY + 40_000.0
    for pacer in (asked, once):
        for i in range(2_000):
            pacer.count(DAY + 20.0 * i)
    for i in range(n_more):
        asked.threshold(now + i / 4_000, left, recent)
        for pacer in (asked, once):
            pacer.count(now + i / 4_000)
    for pacer in (asked, once):
        pacer.threshold(now + n_more / 4_000, left, recent)
    assert asked.share == pytest.approx(once.share, abs=0.03)


@given(st.floats(0, 50), st.floats(0, 50), st.floats(0, 86_399), st.integers(0, 500))
def test_the_pacers_threshold_never_rises_with_the_money_that_is_left(left, more, second, n):
    """Whatever the time of day and the traffic so far, more money never means a higher threshold."""
    pacer, recent = a_pacer(), RecentWinRates(size=128)
    for i in range(n):
        pacer.count(DAY + second * i / max(n, 1))
    now = DAY + second
    assert pacer.threshold(now, left + more, recent) <= pacer.threshold(now, left, recent)


@given(st.floats(-10, 0), st.floats(0, 86_399), st.integers(0, 500))
def test_no_money_is_a_share_of_exactly_nothing(left, second, n):
    """Whatever prompts are to come: what rounding leaves of a share would go on asking the strong model."""
    pacer, recent = a_pacer(), RecentWinRates(size=128)
    for i in range(n):
        pacer.count(DAY + second * i / max(n, 1))
    assert pacer.threshold(DAY + second, left, recent) == NEVER_STRONG and pacer.share == 0.0


def a_pacer(usd=10.0, rates=None, forecast=True):
    return Pacer(usd, "day", costs=PacerCosts(0.01, 0.0005), traffic=TrafficShape(rates), forecast=forecast)


def spend_a_day(pacer, times, rates, *, costs=(0.01, 0.0005)):
    """Dollars spent and share of strong answers, each paid for at once."""
    recent, spent, strong = RecentWinRates(size=512), 0.0, 0
    for at, rate in zip(times, rates, strict=True):
        went = rate >= pacer.threshold(DAY + at, pacer.usd - spent, recent)
        pacer.count(DAY + at)
        recent.add(rate)
        usd = costs[0] if went else costs[1]
        pacer.costs.learn(usd, strong=bool(went))
        spent, strong = spent + usd, strong + went
    return spent, strong / len(times)


@pytest.mark.parametrize("traffic", ["even", "bursts", "double", "morning"])
@pytest.mark.parametrize("forecast", [True, False])
def test_a_ceiling_is_met_within_a_percent_whatever_the_traffic(traffic, forecast):
    """Even, in bursts, twice the forecast, or all before noon: the money is spent at midnight, and not more."""
    rng = np.random.default_rng(7)
    n = 4000 if traffic == "double" else 2000
    bursts = rng.choice(rng.random(12), n) + rng.exponential(0.004, n)
    fractions = {"even": rng.random(n), "double": rng.random(n), "morning": 0.5 * rng.random(n)}.get(traffic)
    fractions = np.where(rng.random(n) < 0.5, bursts % 1.0, rng.random(n)) if fractions is None else fractions
    usual = [2000 / 12] * 12 + [0.0] * 12 if traffic == "morning" else [2000 / 24] * 24
    pacer = a_pacer(usd=0.0005 * n + 0.3 * 0.0095 * n, rates=usual if forecast or traffic == "morning" else None)
    spent, _ = spend_a_day(pacer, np.sort(fractions) * 86_400, rng.random(n).tolist())
    assert spent / pacer.usd == pytest.approx(1.0, abs=0.01)


def test_a_ceiling_above_what_strong_costs_lets_everything_through():
    """Where the money lasts for strong alone, every prompt goes there; of an unknown day's first hour most do."""
    rates, times = np.random.default_rng(0).random(1000).tolist(), np.arange(1000) * 80.0
    assert spend_a_day(a_pacer(usd=50.0, rates=[45.0] * 24), times, rates)[1] == 1.0
    assert spend_a_day(a_pacer(usd=50.0), times, rates)[1] > 0.97


def test_prices_beside_the_estimate_are_learned():
    """Answers that cost three times what was thought still meet the ceiling."""
    rng = np.random.default_rng(1)
    pacer = a_pacer(usd=20.0)
    spent, share = spend_a_day(
        pacer, np.sort(rng.random(2000)) * 86_400, rng.random(2000).tolist(), costs=(0.03, 0.0015)
    )
    assert spent == pytest.approx(20.0, rel=0.01)
    assert share == pytest.approx((20 / 2000 - 0.0015) / 0.0285, abs=0.02)


@given(st.lists(st.tuples(st.floats(0, 4e9), st.floats(-100, 100)), max_size=30))
@example([(DAY, 5.0), (DAY - 1e7, 5.0), (DAY + 1e9, -3.0), (0.0, 0.0), (DAY + 10, 2.0)])
def test_a_pacer_survives_clocks_that_jump_and_ledgers_that_err(steps):
    """Backwards, forwards by years, with money that is negative: always a threshold, and a plan within the ceiling."""
    pacer, recent = a_pacer(), RecentWinRates(size=16)
    for now, left in steps:
        assert 0.0 <= pacer.threshold(now, left, recent) <= NEVER_STRONG
        pacer.count(now)
        assert 0.0 <= pacer.planned_usd(now) <= pacer.usd
        assert pacer.period(now).begin <= now < pacer.period(now).end


def test_the_plan_follows_the_usual_traffic():
    """With all the traffic in the morning, all of it is to be spent by noon; a quarter by six."""
    pacer = a_pacer(rates=[10.0] * 12 + [0.0] * 12)
    assert [pacer.planned_usd(DAY + h * 3600) for h in (0, 6, 12, 20)] == pytest.approx([0.0, 5.0, 10.0, 10.0])


@pytest.mark.parametrize("usd", [0.0, -1.0, math.nan, math.inf])
def test_a_ceiling_is_dollars_above_zero(usd):
    """Anything else is refused."""
    with pytest.raises(ValueError, match="wanted dollars above 0"):
        a_pacer(usd=usd)
