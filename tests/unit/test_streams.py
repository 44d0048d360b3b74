"""An alarm over a life of looks keeps its level, rings where something changed, and goes on where it was stored."""

import json
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import SeriesError
from tasks.evaluation.cadences import Rules, every_for
from tasks.evaluation.e_processes import Bank, looks_needed, season_of
from tasks.evaluation.streams import Stream
from tests.conftest import examples

HOURS = [3600.0 * hour for hour in range(3000)]


def followed(stream: Stream, values, times):
    return [stream.look(value, time) for value, time in zip(values, times, strict=True)]


def autoregressive(random: np.random.Generator, shape: tuple[int, int], memory: float) -> np.ndarray:
    values = random.standard_normal(shape)
    for at in range(1, len(values)):
        values[at] = memory * values[at - 1] + np.sqrt(1 - memory**2) * values[at]
    return values


def odds_of(values: np.ndarray, reference: int, rules: Rules) -> np.ndarray:
    indices = np.arange(len(values))
    bank = Bank(values[:reference], indices[:reference], indices[:reference] % 168, 24, rules)
    odds = []
    for index in range(reference, len(values)):
        bank.look(values[index], index, index % 168, 3600.0 * index)
        odds.append(bank.odds())
    return np.array(odds)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["independent", "dependent", "heavy"])
def test_unchanged_streams_seldom_ring_and_changed_ones_do(kind: str) -> None:
    random = np.random.default_rng(11)
    values = autoregressive(random, (1000, 40), 0.8 if kind == "dependent" else 0.0)
    values = values**2 if kind == "heavy" else values
    assert (odds_of(values, 400, Rules()) >= 20).any(0).mean() <= 0.12
    values[600:] += 3 * values.std()
    rung = odds_of(values, 400, Rules()) >= 20
    assert rung[200:].any(0).mean() >= 0.9


def test_half_a_deviation_is_found_about_when_the_formula_expects_it() -> None:
    random = np.random.default_rng(3)
    values = random.standard_normal((1400, 25))
    values[1000:] += 0.5
    rung = odds_of(values, 720, Rules()) >= 20
    delays = np.where(rung[280:].any(0), rung[280:].argmax(0), 10_000)
    needed = looks_needed(0.125, 1000, Rules())
    assert needed is not None
    assert needed / 2 < np.median(delays) < needed * 2


def test_one_stream_is_judged_as_among_many() -> None:
    values = np.random.default_rng(5).gamma(2, size=(600, 3))
    together = odds_of(values, 400, Rules())
    alone = np.hstack([odds_of(values[:, [stream]], 400, Rules()) for stream in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.slow
@examples(8)
@given(
    st.integers(0, 2**32),
    st.integers(0, 300),
    st.sampled_from(["hour", "day", "batch"]),
    st.booleans(),
    st.sets(st.integers(200, 500), max_size=40),
)
def test_a_stream_that_was_stored_goes_on_as_if_it_had_not_been(
    seed: int, until: int, every: str, two_sided: bool, missing: set[int]
) -> None:
    values = np.random.default_rng(seed).choice([0.0, 0.25, 1.0, 7.5], 500).tolist()  # many ties
    step = 86_400.0 if every == "day" else 3600.0
    looks = [(values[at], step * at) for at in range(200, 500) if at not in missing]
    rules = Rules(every=every, two_sided=two_sided)
    whole = Stream(values[:200], [step * at for at in range(200)], rules, "America/New_York")
    kept = json.loads(json.dumps(whole.to_dict()))
    first, resumed = whole.look(*looks[0]), Stream.from_dict(kept).look(*looks[0])
    assert first == resumed
    seen = [whole.look(*look) for look in looks[1:]]
    parts = Stream.from_dict(kept)
    again = [parts.look(*look) for look in looks[: until + 1]]
    parts = Stream.from_dict(json.loads(json.dumps(parts.to_dict())))
    again += [parts.look(*look) for look in looks[until + 1 :]]
    assert again == [first, *seen]
    assert parts.to_dict() == whole.to_dict()


@pytest.mark.parametrize("every", ["hour", "day"])
def test_a_stream_that_is_always_the_same_never_rings(every: str) -> None:
    step = 86_400.0 if every == "day" else 3600.0
    times = [step * at for at in range(2000)]
    stream = Stream([4.0] * 200, times[:200], Rules(every=every, two_sided=True))
    seen = followed(stream, [4.0] * 1800, times[200:])
    assert max(verdict.odds for verdict in seen) <= 1
    assert not any(verdict.rung for verdict in seen)
    assert all(verdict.judged for verdict in seen)
    assert followed(stream, [9.0] * 20, [times[-1] + step * (1 + at) for at in range(20)])[-1].rung


def test_an_alarm_says_since_when_and_by_how_much_and_stays() -> None:
    values = np.random.default_rng(7).normal(10, 2, 1500)
    values[1000:1100] += 3.0
    seen = followed(Stream(values[:720], HOURS[:720], Rules()), values[720:], HOURS[720:1500])
    assert not seen[279].rung
    first = next(verdict for verdict in seen if verdict.rung)
    assert abs(first.since - HOURS[1000]) <= 12 * 3600
    assert 0.7 < seen[379].size < 2.5
    assert seen[-1].rang_at == first.rang_at


def test_only_a_rise_rings_unless_both_sides_are_watched() -> None:
    values = np.random.default_rng(8).normal(size=1000)
    values[800:] -= 2.0
    for two_sided in (False, True):
        seen = followed(Stream(values[:720], HOURS[:720], Rules(two_sided=two_sided)), values[720:], HOURS[720:1000])
        assert seen[-1].rung is two_sided


def test_a_life_ends_and_the_stream_begins_anew() -> None:
    values = np.random.default_rng(9).normal(size=500)
    values[60:160] += 3.0
    times = [86_400.0 * day for day in range(500)]
    seen = followed(Stream(values[:60], times[:60], Rules(every="day")), values[60:], times[60:])
    assert seen[364].rung
    assert not seen[365].rung
    assert seen[365].odds == pytest.approx(1, abs=0.1)


def test_more_columns_need_greater_odds() -> None:
    assert Rules(columns=20).needed == 20 * Rules().needed
    assert looks_needed(0.125, 2000, Rules(columns=20)) > looks_needed(0.125, 2000, Rules())


@pytest.mark.slow
def test_what_cannot_be_found_within_a_year_is_said() -> None:
    values = autoregressive(np.random.default_rng(2), (720, 1), 0.99)[:, 0]
    assert Stream(values, HOURS[:720], Rules()).looks_needed() is None
    assert Stream(np.random.default_rng(2).normal(size=720), HOURS[:720], Rules()).looks_needed() < 200


def test_days_that_depend_on_each_other_are_not_judged() -> None:
    values = autoregressive(np.random.default_rng(2), (400, 1), 0.9)[:, 0]
    times = [86_400.0 * day for day in range(400)]
    stream = Stream(values[:90], times[:90], Rules(every="day"))
    seen = followed(stream, values[90:] + 5, times[90:])
    assert {(verdict.odds, verdict.judged) for verdict in seen} == {(1.0, False)}
    assert stream.looks_needed() is None


def test_the_look_after_a_gap_is_not_judged() -> None:
    values = np.random.default_rng(4).normal(size=730)
    stream = Stream(values[:720], HOURS[:720], Rules())
    seen = followed(stream, values[:4], [HOURS[720], HOURS[725], HOURS[726], HOURS[727]])
    assert [verdict.judged for verdict in seen] == [True, False, True, True]


def test_the_season_is_the_one_the_reference_shows() -> None:
    random, at = np.random.default_rng(6), np.arange(720)
    values = random.standard_normal((720, 3)) / 2
    values[:, 1] += np.sin(2 * np.pi * at / 24)
    values[:, 2] += 2 * (at // 24 % 7 == 6)
    assert season_of(values, at, at % 168, Rules()).tolist() == [1, 24, 168]


def test_the_hour_of_day_is_that_of_the_zone() -> None:
    new_york, began = ZoneInfo("America/New_York"), 1_740_000_000  # the clocks go forward 18 days later
    times = [began + hour for hour in HOURS[:720]]
    eight = np.array([datetime.fromtimestamp(time, new_york).hour == 8 for time in times])
    values = np.random.default_rng(1).normal(size=720) / 4 + 6 * eight
    peaks = {
        zone: int((np.array(Stream(values, times, Rules(), zone).to_dict()["state"]["base"]) > 0.5).sum())
        for zone in ("America/New_York", "UTC")
    }
    assert peaks["UTC"] > peaks["America/New_York"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_an_error(value: float) -> None:
    stream = Stream(np.arange(720) % 7.0, HOURS[:720], Rules())
    before = stream.to_dict()
    with pytest.raises(SeriesError, match="finite"):
        stream.look(value, HOURS[720])
    assert stream.to_dict() == before
    with pytest.raises(SeriesError, match="finite"):
        Stream([1.0, value], HOURS[:2], Rules())


def test_looks_out_of_order_are_an_error() -> None:
    stream = Stream(np.arange(720) % 7.0, HOURS[:720], Rules())
    with pytest.raises(SeriesError, match="order of time"):
        stream.look(1.0, HOURS[719])


@pytest.mark.parametrize(("every", "looks", "least"), [("hour", 167, 168), ("day", 27, 28), ("batch", 0, 168)])
def test_too_short_a_reference_is_an_error(every: str, looks: int, least: int) -> None:
    with pytest.raises(SeriesError, match=f"at least {least} looks"):
        Stream([1.0] * looks, [86_400.0 * at for at in range(looks)], replace(Rules(), every=every))


def test_rules_that_cannot_be_held_are_an_error() -> None:
    for wrong in ({"level": 0.0}, {"columns": 0}, {"every": "minute"}):
        with pytest.raises(SeriesError):
            Rules(**wrong)


def test_rare_missing_shares_and_spreads_are_looked_at_by_the_day() -> None:
    assert every_for("missing", [0.0, 0.0, 0.1]) == "day"
    assert every_for("missing", [0.2, 0.0, 0.1]) == "hour"
    assert every_for("missing") == every_for("spread") == "day"
    assert every_for("loss") == every_for("place") == "hour"


def test_the_size_of_a_change_is_that_of_its_own_life() -> None:
    random = np.random.default_rng(4)
    times = [86400.0 * at for at in range(90 + 365 + 182)]
    values = random.normal(size=len(times))
    values[90 + 91 : 90 + 182] += 2.0  # in the first life; it goes back
    values[90 + 365 + 91 :] += 1.0
    stream = Stream(values[:90], times[:90], Rules(every="day"))
    verdicts = [stream.look(value, time) for value, time in zip(values[90:], times[90:], strict=True)]
    assert verdicts[182].size == pytest.approx(2.0, abs=0.3)
    assert verdicts[-1].size == pytest.approx(1.0, abs=0.3)
