"""A unit changes at an instant; a season moves values as far, and does not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tasks.evaluation.faults import find_faults
from tests.conftest import BIKES

DAY = 86400.0


def hourly(days: int, start: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return times, and temperatures of a spring: 3 °C in winter, 20 °C in summer, days and weather around it."""
    random = np.random.default_rng(seed)
    hours = np.arange(24 * days) + 24 * start
    weather = np.repeat(random.normal(0, 1.5, days), 24)
    spring = 11.5 - 8.5 * np.cos(2 * np.pi * hours / 8766)
    return hours * 3600.0, spring + 3 * np.sin(2 * np.pi * hours / 24) + weather


def units(before: tuple[np.ndarray, np.ndarray], now: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, float]]:
    frames = [pl.DataFrame({"temp": values}) for _, values in (before, now)]
    found = find_faults(frames[0], before[0], frames[1], now[0])
    return [(each.what, each.share) for each in found if each.kind == "unit"]


@pytest.mark.parametrize("start", range(20, 150, 10))
def test_a_season_is_no_other_unit(start: int) -> None:
    assert units(hourly(31, start, 1), hourly(30, start + 31, 2)) == []


@pytest.mark.parametrize(
    ("what", "factor", "offset"),
    [
        ("in km in place of miles", 1.609344, 0.0),
        ("in °F in place of °C", 1.8, 32.0),
        ("in K in place of °C", 1.0, 273.15),
        ("with its sign turned", -1.0, 0.0),
        ("divided by 1000", 0.001, 0.0),
    ],
)
@pytest.mark.parametrize("share", [1.0, 0.45])
def test_a_unit_that_changes_in_summer_is_one(what: str, factor: float, offset: float, share: float) -> None:
    before, (times, values) = hourly(60, 120, 1), hourly(30, 180, 2)
    late = np.arange(len(values)) >= (1 - share) * len(values)
    found = units(before, (times, np.where(late, values * factor + offset, values)))
    assert [name for name, _ in found] == [what]
    assert found[0][1] == pytest.approx(share, abs=0.09)


@pytest.mark.parametrize(
    ("what", "factor", "offset"),
    [
        ("divided by 100", 0.01, 0.0),
        ("in °F in place of °C", 1.8, 32.0),
        ("in K in place of °C", 1.0, 273.15),
        ("with its sign turned", -1.0, 0.0),
    ],
)
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_unit_that_rows_change_singly_is_one(what: str, factor: float, offset: float, share: float) -> None:
    """As where one of several stations sends another unit: within no stretch of time do all rows have it."""
    before, (times, values) = hourly(60, 150, 1), hourly(30, 210, 2)
    singly = np.random.default_rng(3).uniform(size=len(values)) < share
    found = units(before, (times, np.where(singly, values * factor + offset, values)))
    assert [name for name, _ in found] == [what]
    assert found[0][1] == pytest.approx(share, abs=0.06)


def test_days_hotter_or_colder_than_any_before_are_no_other_unit() -> None:
    before, (times, values) = hourly(60, 150, 1), hourly(30, 210, 2)
    hot = np.repeat(np.random.default_rng(3).uniform(size=30) < 0.4, 24)
    assert units(before, (times, np.where(hot, values + 12, values))) == []
    assert units(before, (times, np.where(hot, values - 12, values))) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_first_winter_about_zero_is_no_turned_sign(seed: int) -> None:
    (earlier, autumn), (times, values) = hourly(60, 240, seed), hourly(30, 330, 100 + seed)
    cold = values - values.mean() + 4 * np.sin(times * 2 * np.pi / DAY)
    assert 0.3 < (cold < 0).mean() < 0.7
    assert units((earlier, np.maximum(autumn - 5, 0.2)), (times, cold)) == []


def test_a_unit_that_comes_and_goes_is_one_and_a_cold_spell_is_none() -> None:
    before, (times, values) = hourly(60, 120, 1), hourly(30, 180, 2)
    days = times / DAY - 180
    inside = (days >= 10) & (days < 20)
    (found,) = units(before, (times, np.where(inside, values * 1.8 + 32, values)))
    assert found == ("in °F in place of °C", pytest.approx(1 / 3, abs=0.09))
    spell = np.interp(days, [0, 0.01, 4, 12, 30], [1, 1 / 1.609344, 1 / 1.609344, 1, 1])  # sudden, and over in a week
    assert units(before, (times, values * spell)) == []


@pytest.mark.parametrize("hours", [20, 24, 48])
@pytest.mark.parametrize(
    ("what", "factor"), [("in m/s in place of km/h", 1 / 3.6), ("in km in place of miles", 1.609344)]
)
def test_a_gap_before_a_unit_changes_does_not_hide_it(what: str, factor: float, hours: int) -> None:
    (earlier, known), (times, values) = hourly(60, 120, 1), hourly(7, 180, 2)
    known = np.where(np.arange(len(known)) < len(known) - hours, known, np.nan)
    assert units((earlier, known), (times, values * factor)) == [(what, 1.0)]


@pytest.mark.parametrize(("what", "factor"), [("in pounds in place of kg", 2.20462), ("in km/h in place of m/s", 3.6)])
@pytest.mark.parametrize("rows", [28, 60])
def test_rows_once_a_day_are_judged_by_how_far_they_are_wont_to_go(rows: int, what: str, factor: float) -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        days, values = np.arange(365 + rows) * DAY, 20 * np.exp(0.35 * random.normal(size=365 + rows))
        before, now = (days[:365], values[:365]), (days[365:], values[365:])
        assert units(before, (now[0], now[1] * factor)) == [(what, 1.0)]
        assert units(before, now) == []


@pytest.mark.slow
def test_no_month_of_bikes_is_in_another_unit() -> None:
    frame = pl.read_csv(BIKES / "data" / "weather.csv.gz", try_parse_dates=True).sort("time").drop_nulls()
    seconds, months = frame["time"].dt.epoch("s").to_numpy().astype(float), frame["time"].dt.month().to_numpy()
    inputs = frame.select("temp", "atemp", "hum", "windspeed")
    for first, months_after in ((3, (4, 5, 10)), (5, (10, 11))):  # a cold front comes on the 1st of October, for days
        for month in months_after:
            earlier, now = (months >= first) & (months < month), months == month
            found = find_faults(
                inputs.filter(pl.Series(earlier)), seconds[earlier], inputs.filter(pl.Series(now)), seconds[now]
            )
            assert [str(each) for each in found if each.kind == "unit"] == [], f"{first} to {month}"
