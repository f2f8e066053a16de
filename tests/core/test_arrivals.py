"""What may come on a day whose traffic nobody knows: bursts, batches and even traffic, from the first second on."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.core.arrivals import Arrivals
from pointsman.core.pacing import Pacer, PacerCosts
from pointsman.core.recent import NEVER_STRONG, RecentWinRates
from pointsman.core.traffic import TrafficShape

START = 20_000 * 86_400.0 + 9 * 3600.0


def mean_and_spread(arrivals, now, hours):
    """Mean rate, and its standard deviation over it."""
    rates = arrivals.rates(now, hours)
    mean = sum(rate.weight * rate.per_hour for rate in rates)
    return mean, math.sqrt(sum(rate.weight * (rate.per_hour - mean) ** 2 for rate in rates)) / mean


@given(st.lists(st.floats(0, 40_000), max_size=60), st.floats(0, 50_000), st.floats(0.01, 800))
@example([0.0] * 60, 0.0, 15.0)
@example([], 0.0, 15.0)
def test_rates_are_a_distribution_whatever_came(times, later, hours):
    """Probabilities that sum to 1, of rates that are positive, finite and rising."""
    arrivals = Arrivals()
    for at in times:  # in any order: clocks jump
        arrivals.count(START + at)
    rates = arrivals.rates(START + later, hours)
    assert sum(rate.weight for rate in rates) == pytest.approx(1.0)
    per_hour = [rate.per_hour for rate in rates]
    assert per_hour == sorted(per_hour)
    assert all(0.0 <= rate < math.inf for rate in per_hour)
    assert arrivals.dispersion >= 1.0


@given(st.integers(1, 40), st.integers(2, 300))
def test_even_traffic_goes_on_as_it_is(per_minute, minutes):
    """After some minutes of even traffic its rate is expected, within what a prior of a burst and a minute moves."""
    arrivals = Arrivals()
    for minute in range(minutes):
        for _ in range(per_minute):
            arrivals.count(START + 60.0 * minute)
    rate, _ = mean_and_spread(arrivals, START + 60.0 * minutes, 10.0)
    assert rate == pytest.approx(60.0 * per_minute, rel=0.25 + 2.0 / minutes)


def test_a_burst_is_no_rate():
    """1,200 prompts in nine seconds are not taken for half a million an hour, and for less with every quiet minute."""
    arrivals = Arrivals()
    for i in range(1200):
        arrivals.count(START + i * 0.0075)
    found = [mean_and_spread(arrivals, START + 10.0 + 60.0 * minutes, 15.0) for minutes in (0, 1, 10, 60, 300)]
    rates = [rate for rate, _ in found]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] < 20_000
    assert rates[-1] < 60
    assert found[0][1] > 1.5  # and of what it may be the mean says little


def test_more_hours_seen_are_known_more_closely():
    """The rate of even traffic is known better after six hours than after one, and better for fewer hours to come."""
    arrivals, spreads = Arrivals(), []
    for minute in range(360):
        arrivals.count(START + 60.0 * minute)
        if minute in (59, 359):
            spreads += [mean_and_spread(arrivals, START + 60.0 * minute, hours)[1] for hours in (12.0, 2.0)]
    assert spreads[0] > spreads[1] > spreads[3]
    assert spreads[0] > spreads[2] > spreads[3]


def test_the_points_are_those_of_a_gamma_distribution():
    """Mean and standard deviation are those of the formula: n / k bursts an hour, widened by the hours to come."""
    arrivals = Arrivals()
    for minute in range(60):
        arrivals.count(START + 60.0 * minute)
    mean, spread = mean_and_spread(arrivals, START + 3599.0, 4.0)
    hours = 24.0 * (1.0 - math.exp(-3599.0 / 3600.0 / 24.0))
    n = 24.0 * 60.0 * (1.0 - math.exp(-1.0 / 24.0))  # with what was forgotten
    bursts = n - 1.0 + 0.15
    variance = 1.0 / bursts + 0.6 * 4.0 / (4.0 + hours) * math.log1p(4.0 / hours)
    assert mean == pytest.approx(bursts / (hours + 1.0 / 60.0), rel=0.05)
    assert spread == pytest.approx(math.sqrt(variance), rel=0.1)


def a_first_day(times, rates, *, usd, costs):
    """Where the prompts of a first day went: a boolean for each."""
    pacer = Pacer(usd, "day", costs=PacerCosts(*costs), traffic=TrafficShape())
    recent, spent, went = RecentWinRates(size=512), 0.0, []
    for at, rate in zip(times, rates, strict=True):
        threshold = pacer.threshold(START + at, usd - spent, recent)
        went.append(rate >= threshold)
        pacer.count(START + at)
        recent.add(rate)
        spent += costs[0] if went[-1] else costs[1]
    return np.array(went), spent, pacer


def test_a_burst_on_a_first_day_does_not_starve_it():
    """1,200 prompts in nine seconds of a 50 dollar budget leave the strong model open during and after them."""
    rng = np.random.default_rng(0)
    times = np.concatenate([np.sort(9.0 * rng.random(1200)), np.linspace(10.0, 15 * 3600.0 - 1.0, 800)])
    went, spent, _ = a_first_day(times, rng.random(2000).tolist(), usd=50.0, costs=(0.0125, 0.0004))
    assert min(part.mean() for part in np.array_split(went, 20)) > 0.6
    assert spent < 50.0
    cheap, _, _ = a_first_day(times, rng.random(2000).tolist(), usd=50.0, costs=(0.0003, 0.00002))
    assert cheap.mean() > 0.95


def test_a_ceiling_says_what_its_owner_expects():
    """After a batch, the less a ceiling pays for, the fewer prompts are expected; the share falls all the same."""
    expected, shares = [], []
    for usd in (5.0, 50.0, 5000.0):
        pacer = Pacer(usd, "day", costs=PacerCosts(0.0125, 0.0004), traffic=TrafficShape())
        for i in range(2000):
            pacer.count(START + i * 0.6)
        now = START + 1200.0
        pacer.threshold(now, 0.6 * usd, RecentWinRates(size=512))
        expected.append(pacer.prompts_to_come(now).n_prompts)
        shares.append(pacer.share)
    assert expected == sorted(expected) and expected[0] < 0.3 * expected[2]
    assert shares == sorted(shares)


def test_one_of_many_processes_expects_its_part():
    """A process with a tenth of the traffic and of the money finds the share that one alone finds of all of it."""
    shares = []
    for part, n in ((1.0, 2000), (0.1, 200)):
        pacer = Pacer(50.0, "day", costs=PacerCosts(0.0125, 0.0004), traffic=TrafficShape())
        for i in range(n):
            pacer.count(START + i * 1200.0 / n)
        pacer.threshold(START + 1200.0, 30.0 * part, RecentWinRates(size=512), part=part)
        shares.append(pacer.share)
    assert shares[0] == pytest.approx(shares[1], abs=0.05)


def test_a_burst_against_a_forecast_does_not_starve_the_day_either():
    """Of a day that 8,000 prompts are expected on, a burst at midnight or after a restart is a small part."""
    for start in (START - 9 * 3600.0, START):
        traffic = TrafficShape([8000 / 24.0] * 24)
        pacer = Pacer(50.0, "day", costs=PacerCosts(0.0125, 0.0004), traffic=traffic)
        for i in range(1200):
            pacer.count(start + i * 0.0075)
        assert 0.0 < pacer.threshold(start + 10.0, 45.0, RecentWinRates(size=512)) < 0.7


def test_what_is_expected_lies_between_its_bounds_and_is_told():
    """Widely on a first day, at one number where a forecast knows the day."""
    pacer = Pacer(50.0, "day", costs=PacerCosts(0.01, 0.001), traffic=TrafficShape())
    for minute in range(30):
        pacer.count(START + 60.0 * minute)
    found = pacer.prompts_to_come(START + 1800.0)
    assert found.low < found.n_prompts < found.high
    known = Pacer(50.0, "day", costs=PacerCosts(0.01, 0.001), traffic=TrafficShape([60.0] * 24))
    assert known.prompts_to_come(START).low == known.prompts_to_come(START).high == pytest.approx(900.0, rel=0.01)


def test_a_budget_of_one_key_begins_as_widely():
    """A key's budget has a shape of traffic and no level: a burst of its first seconds does not close it."""
    pacer = Pacer(5.0, "day", costs=PacerCosts(0.0125, 0.0004), traffic=TrafficShape([100.0] * 24), forecast=False)
    for i in range(120):
        pacer.count(START + i * 0.05)
    assert pacer.threshold(START + 10.0, 4.5, RecentWinRates(size=512)) < NEVER_STRONG
    assert pacer.share > 0.3
