"""Hours of the week, periods of the calendar, and the usual traffic, by clocks that are turned back and forth."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.core.periods import find_period
from pointsman.core.schedule import WEEKDAYS, WeeklySpan, local_time, parse_time
from pointsman.core.traffic import TrafficShape

ZONES = sorted(available_timezones() - {"localtime"})
INSTANTS = st.floats(0, 4e9, allow_nan=False)
BERLIN, GOOSE_BAY = ZoneInfo("Europe/Berlin"), ZoneInfo("America/Goose_Bay")
SPANS = st.builds(
    lambda days, begin, length: WeeklySpan(frozenset(days), begin, (begin + length) % 1440 or 1440),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
)


def at(text, zone=BERLIN, fold=0):
    """Seconds since 1970 of a wall-clock time."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def within(span, now, zone=BERLIN):
    return span.contains(local_time(now, zone))


@given(SPANS, st.sampled_from(ZONES), st.one_of(INSTANTS, st.floats(-1e18, 1e18)))
@example(WeeklySpan(frozenset({6}), 120, 180), "Europe/Berlin", at("2026-03-29T03:00"))  # the hour that is skipped
@example(WeeklySpan(frozenset({6}), 120, 180), "Europe/Berlin", at("2026-10-25T02:30", fold=1))  # the one repeated
@example(WeeklySpan(frozenset({4}), 0, 1440), "Pacific/Apia", 1_325_239_200.0)  # a day that never was
@example(WeeklySpan(frozenset({6}), 0, 30), "America/Goose_Bay", at("2010-11-07T00:00:30", GOOSE_BAY))
def test_every_instant_is_inside_or_outside(span, zone, now):
    """In every time zone an instant is in a span iff its wall-clock minute is one that the span counts out."""
    length = (span.end - span.begin) % 1440 or 1440
    counted = {(day * 1440 + span.begin + i) % (7 * 1440) for day in span.days for i in range(length)}
    moment = local_time(now, ZoneInfo(zone))
    minute = moment.weekday() * 1440 + moment.hour * 60 + moment.minute
    assert span.contains(moment) == (minute in counted)


def test_an_hour_that_is_skipped_never_comes_and_one_that_is_repeated_comes_twice():
    """From two to three on a Sunday: no second of it when clocks go forward, two hours when they go back."""
    span = WeeklySpan.of(["sun"], "02:00", "03:00")
    for day, hours in (("2026-03-29", 0), ("2026-10-25", 2), ("2026-11-01", 1)):
        begin = at(f"{day}T00:00")
        seconds = sum(60 for minute in range(6 * 60) if within(span, begin + 60 * minute))
        assert seconds == hours * 3600


def test_a_span_overnight_belongs_to_the_day_it_begins_on():
    """Friday from ten in the evening to six: until Saturday at six, and not in the night to Friday."""
    span = WeeklySpan.of(["fri"], "22:00", "06:00")
    inside = ["2026-11-27T22:00", "2026-11-27T23:59", "2026-11-28T05:59"]
    outside = ["2026-11-27T05:00", "2026-11-27T21:59", "2026-11-28T06:00", "2026-11-28T22:00"]
    assert [within(span, at(text)) for text in inside + outside] == [True] * 3 + [False] * 4


@pytest.mark.parametrize("text", ["24:01", "9:00", "09:60", "0900", "", "-1:00", "٠٩:٠٠", "25:00"])
def test_what_is_no_time_of_day_is_refused(text):
    """Times are HH:MM from 00:00 to 24:00, and the message says so."""
    with pytest.raises(ValueError, match="wanted 00:00 to 24:00"):
        parse_time(text)


def test_spans_without_days_or_length_are_refused():
    """No days, an unknown day, or an end at the beginning."""
    for days, begin, end in (([], "09:00", "10:00"), (["monday"], "09:00", "10:00"), (WEEKDAYS, "09:00", "09:00")):
        with pytest.raises(ValueError, match=r"wanted|whole day"):
            WeeklySpan.of(days, begin, end)


@given(st.sampled_from(["hour", "day", "month"]), st.sampled_from(ZONES), INSTANTS)
@example("day", "Pacific/Apia", 1_325_239_100.0)
@example("day", "UTC", 0.0)
@example("day", "America/Goose_Bay", at("2010-11-07T00:00:30", GOOSE_BAY))
@example("day", "America/Sao_Paulo", at("2018-11-04T01:00", ZoneInfo("America/Sao_Paulo")))
@example("month", "Europe/Berlin", at("2026-10-25T02:30", fold=1))
def test_every_instant_is_in_its_period(per, zone, now):
    """The hour, day or month around an instant has begun and not ended, and lasts about as long as it should."""
    period = find_period(per, now, ZoneInfo(zone))
    hours = {"hour": (1, 1), "day": (20, 50), "month": (27 * 24, 32 * 24)}[per]
    assert period.begin <= now < period.end
    assert hours[0] <= (period.end - period.begin) / 3600 <= hours[1]


def test_days_of_23_and_25_hours_are_days():
    """Clocks that go forward or back change the length of the day."""
    lengths = [find_period("day", at(f"{day}T12:00"), BERLIN) for day in ("2026-03-29", "2026-10-25", "2026-11-01")]
    assert [(period.end - period.begin) / 3600 for period in lengths] == [23, 25, 24]


def test_a_period_has_one_of_three_names():
    """Anything but hour, day and month is refused."""
    with pytest.raises(ValueError, match="wanted hour, day or month"):
        find_period("week", 0.0)


def test_usual_traffic_is_learned_by_the_hour_of_working_days_and_weekends():
    """After a week of busy mornings and quiet weekends, that is what is expected of the next."""
    shape, monday = TrafficShape(), datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    for day in range(7):
        for hour in range(24):
            n = 10 if day >= 5 else 120 if 8 <= hour < 12 else 30
            for i in range(n):
                shape.count(monday + day * 86_400 + hour * 3600 + i * 3600 / n)
    shape.count(monday + 7 * 86_400)
    next_monday = monday + 7 * 86_400
    assert shape.expected(next_monday + 8 * 3600, next_monday + 12 * 3600) == pytest.approx(480)
    assert shape.expected(next_monday + 12 * 3600, next_monday + 12.5 * 3600) == pytest.approx(15)
    assert shape.expected(next_monday + 5 * 86_400, next_monday + 6 * 86_400) == pytest.approx(240, rel=0.01)
    again = TrafficShape(shape.to_dict()["rates"])
    assert again.expected(0, 7 * 86_400) == pytest.approx(shape.expected(0, 7 * 86_400))


@given(st.lists(st.floats(0, 4e9), max_size=40))
@example([1e9, 1e9 - 5e7, 1e9 + 5e8, 0.0])
def test_clocks_that_jump_leave_traffic_finite_and_not_negative(times):
    """Whatever order times come in, every expectation is a number that is not negative, and silence is not invented."""
    shape = TrafficShape()
    for now in times:
        shape.count(now)
    expected = shape.expected(1e9, 1e9 + 86_400)
    assert 0.0 <= expected < float("inf")
    assert all(rate is None or rate >= 0 for rate in shape.rates)


@pytest.mark.parametrize("hours", [3, 24, 30])
def test_a_clock_that_jumps_ahead_and_back_has_seen_no_silence(hours):
    """The hours that it left out are still to come: what was known of them is known again."""
    shape = TrafficShape([100.0] * 24)
    begin = datetime(2026, 3, 10, 8, tzinfo=UTC).timestamp()
    for minute in range(120):
        shape.count(begin + 60 * minute)
    for minute in range(120, 240):
        shape.count(begin + 60 * minute + 3600 * hours)
    shape.count(begin + 3600 * 4)
    assert shape.rates[12:] == [100.0] * 36
    assert shape.rates[8] == shape.rates[9] == pytest.approx(88.0)


def test_a_long_silence_is_not_taken_for_absent_traffic():
    """A clock that jumps two days on, or a server that stood still, teaches nothing of the hours between."""
    shape = TrafficShape()
    shape.count(0.0)
    shape.count(2 * 86_400.0)
    assert all(rate is None for rate in shape.rates)


def test_damaged_rates_are_refused():
    """Neither 24 nor 48 rates, or negative ones."""
    for rates in ([1.0] * 7, [-1.0] * 24, [float("inf")] * 48):
        with pytest.raises(ValueError, match="wanted 24 or 48"):
            TrafficShape(rates)
