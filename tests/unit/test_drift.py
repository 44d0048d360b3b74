"""What is called drift: what chance cannot do, at any size of window and reference; and what cannot be told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from expectations.errors import BundleError
from tasks.evaluation.drift import judge
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.pairs import Compared
from tasks.evaluation.sketches import Reference, references_from_dict, references_to_dict, sketch
from tasks.stores.plain import to_json

RANDOM = np.random.default_rng(5)
START = datetime(2013, 1, 1, tzinfo=UTC)


def judged(reference: Any, window: Any, *, min_effect: float = 0.0) -> Drifted:
    known, seen = (pl.DataFrame({"x": values}, strict=False) for values in (reference, window))
    return judge([Compared(sketch(known), seen)], alpha=0.05, min_effect=min_effect)[0]


def table(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"c{at}": values[:, at] for at in range(values.shape[1])})


def autoregressive(rho: float, rows: int, columns: int, random: np.random.Generator) -> np.ndarray:
    noise = random.normal(size=(rows, columns)) * np.sqrt(1 - rho**2)
    noise[0] = random.normal(size=columns)
    return np.asarray(lfilter([1], [1, -rho], noise, axis=0))


def hours(count: int) -> pl.Series:
    return pl.Series([START + timedelta(hours=at) for at in range(count)])


def alarms(windows: list[tuple[Reference, pl.DataFrame, pl.Series]]) -> int:
    return sum(
        any(each.drifted for each in judge([Compared(reference, frame, times)], alpha=0.05))
        for reference, frame, times in windows
    )


def with_missing(values: np.ndarray, share: float, seed: int = 1) -> pl.Series:
    gone = np.random.default_rng(seed).random(len(values)) < share
    return pl.Series([None if lost else value for value, lost in zip(values, gone, strict=True)], dtype=pl.Float64)


NORMAL = RANDOM.normal(size=5000)


# --- the distance that is reported ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0, 5.0])
def test_numbers_score_the_normed_wasserstein_distance(shift: float) -> None:
    reference, window = RANDOM.normal(10, 3, 20_000), RANDOM.normal(10 + shift, 3, 5_000)
    expected = wasserstein_distance(reference, window) / np.std(reference)
    assert judged(reference, window).score == pytest.approx(expected, rel=0.05, abs=0.01)


def test_categories_score_the_jensen_shannon_distance() -> None:
    names = np.array(["a", "b", "c", "d"])
    reference = RANDOM.choice(names, 9000, p=[0.4, 0.3, 0.2, 0.1])
    window = RANDOM.choice(names, 3000, p=[0.1, 0.3, 0.2, 0.4])
    shares = [[np.mean(values == name) for name in names] for values in (reference, window)]
    assert judged(reference, window).score == pytest.approx(jensenshannon(*shares), rel=1e-9)


def test_the_scores_are_evidentlys() -> None:
    """Evidently's own numbers over the same rows, its methods named as in our reports."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = np.array(["a", "b", "c"])
    reference = pl.DataFrame({"x": RANDOM.normal(size=1500), "t": RANDOM.choice(names, 1500, p=[0.5, 0.3, 0.2])})
    window = pl.DataFrame({"x": RANDOM.normal(0.4, 1.2, 900), "t": RANDOM.choice(names, 900, p=[0.2, 0.3, 0.5])})
    definition = DataDefinition(numerical_columns=["x"], categorical_columns=["t"])
    sets = [Dataset.from_pandas(frame.to_pandas(), data_definition=definition) for frame in (window, reference)]
    report = Report([DataDriftPreset(num_method="wasserstein", cat_method="jensenshannon")]).run(*sets)
    theirs = {
        each["config"]["column"]: float(each["value"])
        for each in report.dict()["metrics"]
        if each["config"]["type"] == "evidently:metric_v2:ValueDrift"
    }

    ours = {each.column: each.score for each in judge([Compared(sketch(reference), window)], alpha=0.05)}

    assert ours["t"] == pytest.approx(theirs["t"], rel=1e-9)
    assert ours["x"] == pytest.approx(theirs["x"], rel=0.05)


# --- what is called ---------------------------------------------------------------------------------------------------

WINDOW = np.random.default_rng(6).normal(size=1000)
TEXTS = np.random.default_rng(7).choice(list("abcd"), 5000, p=[0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("reference", "window", "what"),
    [
        (NORMAL, WINDOW + 0.5, "place"),
        (NORMAL, WINDOW * 1.5, "spread"),
        (np.where(np.arange(5000) == 7, 1e12, NORMAL), WINDOW + 3, "place"),
        (NORMAL, WINDOW * 1.8 + 32, "place"),
        (NORMAL, np.full(300, NORMAL[3]), "constant"),
        (NORMAL, with_missing(WINDOW, 0.6), "missing"),
        (with_missing(NORMAL, 0.01), with_missing(WINDOW, 0.1), "missing"),
        (with_missing(NORMAL, 0.6), WINDOW, "missing"),
        (NORMAL, [None] * 200, "empty"),
        (NORMAL[:100], [None] * 50, "empty"),
        (pl.Series([None] * 500, dtype=pl.Float64), WINDOW, "missing"),
        (pl.Series([None] * 500, dtype=pl.String), ["a"] * 300, "missing"),
        (pl.Series([None] * 500, dtype=pl.Null), ["a"] * 300, "missing"),
        (TEXTS, np.where(TEXTS[:500] == "a", "b", np.where(TEXTS[:500] == "b", "a", TEXTS[:500])), "share of b"),
        (TEXTS, np.where(np.arange(500) % 25 == 0, "new", TEXTS[:500]), "new category"),
        ([1.0] * 500, [2.0] * 100, "place"),
        ([True, False, True] * 300, [False] * 99 + [True], "share of true"),
        ([True, False, True] * 300, [False] * 100, "constant"),
    ],
)
def test_a_fault_is_called_by_what_it_is(reference: Any, window: Any, what: str) -> None:
    found = judged(reference, window)
    assert (found.status, found.what) == ("drifted", what)
    assert found.odds is not None
    assert found.odds > 20


def test_tiny_numbers_are_judged_as_others_are() -> None:
    for scale in (1e-6, 1e9):
        found, plain = judged(NORMAL * scale, (WINDOW + 0.5) * scale), judged(NORMAL, WINDOW + 0.5)
        assert found.drifted
        assert found.effect == pytest.approx(plain.effect)
        assert found.score == pytest.approx(plain.score)


def test_the_effect_is_said_in_deviations_or_points_of_share() -> None:
    assert judged(NORMAL, WINDOW + 0.5).effect == pytest.approx(0.5, abs=0.1)
    found = judged(NORMAL, with_missing(WINDOW, 0.6))
    assert found.effect == found.missing_share == pytest.approx(0.6, abs=0.05)
    assert found.missing_reference == 0


def test_the_least_effect_hides_small_shifts_and_no_missing_values() -> None:
    window = RANDOM.normal(0.05, 1, 50_000)
    assert judged(RANDOM.normal(size=100_000), window).drifted
    assert judged(RANDOM.normal(size=100_000), window, min_effect=0.1).status == "same"
    assert judged(NORMAL, with_missing(WINDOW, 0.1), min_effect=10.0).what == "missing"


@pytest.mark.parametrize(
    "reference", [[1.0] * 50, [1.0, None] * 20, ["a"] * 30, [True, False] * 20, [0.0] * 99 + [1e9], [1e308, -1e308]]
)
def test_odd_columns_do_not_differ_from_themselves(reference: list[object]) -> None:
    found = judged(reference, reference)
    assert not found.drifted
    assert found.score == pytest.approx(0, abs=1e-12)


def test_what_is_not_watched_is_said() -> None:
    frame = pl.DataFrame({"t": [START] * 50, "l": [{"a": 1}] * 50, "x": NORMAL[:50]})
    found = {each.column: each for each in judge([Compared(sketch(frame), frame)], alpha=0.05)}
    assert {name: each.status for name, each in found.items() if name != "x"} == {
        "t": "undetermined",
        "l": "undetermined",
    }
    assert "not watched" in found["l"].reason


# --- what is not called -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "window"), [(30, 1000), (100, 1000), (300, 1000), (5000, 50), (20_000, 500)])
@pytest.mark.parametrize("rho", [0.0, 0.9, 0.99])
def test_windows_without_drift_are_left_alone_at_any_size(rho: float, reference: int, window: int) -> None:
    random = np.random.default_rng(reference + window)
    alarms = told = 0
    for _ in range(30):
        known, seen = (table(autoregressive(rho, rows, 5, random)) for rows in (reference, window))
        found = judge([Compared(sketch(known), seen)], alpha=0.05)
        alarms += any(each.drifted for each in found)
        told += all(each.status != "undetermined" for each in found)
    assert alarms <= 5  # 6 of 30 come one time in 300 at 5 %
    if rho == 0.0 and reference >= 100:
        assert told >= 20
    if rho == 0.99 and reference <= 300:
        assert not told


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "window"), [(30, 50), (100, 50), (300, 1000)])
def test_slow_parts_under_noise_and_a_cycle_do_not_pass_for_independent(reference: int, window: int) -> None:
    random = np.random.default_rng(reference)
    alarms = 0
    for _ in range(30):
        frames = []
        for rows in (reference, window):
            slow, noise = autoregressive(0.99, rows, 20, random), random.normal(size=(rows, 20))
            cycle = np.sin(np.arange(rows)[:, None] * 2 * np.pi / 24 + random.uniform(0, 6))
            frames.append(table(slow + noise + cycle))
        alarms += any(each.drifted for each in judge([Compared(sketch(frames[0]), frames[1])], alpha=0.05))
    assert alarms <= 5


def test_a_short_reference_of_dependent_rows_says_why_it_cannot_tell() -> None:
    random = np.random.default_rng(3)
    known, seen = (table(autoregressive(0.99, rows, 3, random)) for rows in (200, 100))
    found = judge([Compared(sketch(known), seen)], alpha=0.05)
    assert {each.status for each in found} == {"undetermined"}
    assert all("independent of each other" in each.reason and each.p is None for each in found)
    gone = seen.with_columns(pl.lit(None, pl.Float64).alias("c1"))  # by rule, whatever the rows are
    assert [each.column for each in judge([Compared(sketch(known), gone)], alpha=0.05) if each.drifted] == ["c1"]


def test_the_order_of_rows_is_part_of_the_data() -> None:
    random = np.random.default_rng(4)
    known, seen = (table(autoregressive(0.99, rows, 20, random)) for rows in (5000, 100))
    shuffled = known.sample(fraction=1.0, shuffle=True, seed=1)
    assert not any(each.drifted for each in judge([Compared(sketch(known), seen)], alpha=0.05))
    assert any(each.drifted for each in judge([Compared(sketch(shuffled), seen)], alpha=0.05))


def test_a_window_of_part_of_a_day_is_not_held_against_whole_days() -> None:
    count = 24 * 60
    daily = np.sin(np.arange(count) * 2 * np.pi / 24) + 0.3 * RANDOM.normal(size=count)
    reference = sketch(pl.DataFrame({"x": daily, "y": RANDOM.normal(size=count)}), hours(count))
    assert reference.sample.unit == "day"
    night = pl.DataFrame({"x": daily[:6], "y": RANDOM.normal(size=6)})
    found = {each.column: each for each in judge([Compared(reference, night, hours(6))], alpha=0.05)}
    assert found["x"].status == "undetermined"
    assert "shorter than a day" in found["x"].reason
    assert found["y"].status != "drifted"


def test_rows_out_of_order_are_brought_into_it() -> None:
    frame = pl.DataFrame({"x": autoregressive(0.95, 2400, 1, RANDOM)[:, 0]})
    mixed = RANDOM.permutation(2400)
    assert sketch(frame, hours(2400)).to_dict() == sketch(frame[mixed], hours(2400)[mixed]).to_dict()


# --- sketches ---------------------------------------------------------------------------------------------------------


def test_a_window_is_the_sum_of_its_parts() -> None:
    frame = pl.DataFrame({"x": with_missing(RANDOM.normal(size=2400), 0.1), "t": TEXTS[:2400]})
    times = hours(2400)
    reference = sketch(frame, times)
    whole = reference.count(frame, times)
    for cut in (1, 30, 1000):  # also in the middle of a day
        parts = [reference.count(frame[a:b], times[a:b]) for a, b in ((0, cut), (cut, 2400))]
        merged = parts[0].merge(parts[1])
        assert merged.rows.tolist() == whole.rows.tolist()
        for name, tally in merged.tallies.items():
            for field in ("counts", "missing", "outside"):
                assert getattr(tally, field).tolist() == getattr(whole.tallies[name], field).tolist()
            assert tally.sums == pytest.approx(whole.tallies[name].sums)


@pytest.mark.parametrize("rows", [40, 1999, 2400])
def test_a_reference_is_written_and_read_back(rows: int) -> None:
    import json

    frame = pl.DataFrame(
        {"x": with_missing(RANDOM.normal(size=rows), 0.1), "t": TEXTS[:rows], "b": RANDOM.random(rows) < 0.5}
    )
    for times in (None, hours(rows)):
        reference = sketch(frame, times)
        (again,) = references_from_dict(json.loads(to_json(references_to_dict([reference]))))
        assert isinstance(again, Reference)
        window = frame.head(60)
        moments = None if times is None else times.head(60)
        first, second = (judge([Compared(each, window, moments)], alpha=0.05) for each in (reference, again))
        assert first == second


def test_a_long_past_is_kept_in_at_most_512_units() -> None:
    reference = sketch(pl.DataFrame({"x": RANDOM.normal(size=24 * 1500)}), hours(24 * 1500))
    assert len(reference.sample.rows) <= 512
    assert reference.sample.size == 24 * 1500


def test_a_reference_of_another_format_is_an_error_and_one_of_before_is_none() -> None:
    assert references_from_dict({"x": {"kind": "number", "counts": []}}) == []
    with pytest.raises(BundleError, match="format 3"):
        references_from_dict({"format": 3, "tables": []})


# --- days as units: what the product judges by ------------------------------------------------------------------------


def days_of(count: int, random: np.random.Generator, level: float = 1.0) -> pl.DataFrame:
    """Hours of days that each have a level of their own; a number, a category, and one with a tenth missing."""
    own = np.repeat(random.normal(size=count) * level, 24)
    value = own + random.normal(size=count * 24)
    return pl.DataFrame(
        {
            "number": value,
            "category": np.where(own + random.normal(size=count * 24) > 0.5, "a", "b"),
            "some": with_missing(random.normal(size=count * 24), 0.1, int(random.integers(1 << 30))),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(("history", "length"), [(200, 1), (200, 7), (1100, 1), (1100, 7)])
def test_days_that_differ_among_themselves_alarm_no_oftener_than_promised(history: int, length: int) -> None:
    """References of more than 512 days have units of several: a window of one day is no whole one."""
    random = np.random.default_rng(17)
    found = []
    for _ in range(24):
        whole = days_of(history + length, random)
        times = hours(len(whole))
        cut = history * 24
        reference = sketch(whole.head(cut), times.head(cut))
        found.append((reference, whole.tail(length * 24), times.tail(length * 24)))
    assert alarms(found) <= 5  # 1.2 are promised; 6 or more would come one time in 800


@pytest.mark.slow
@pytest.mark.parametrize(("start", "length"), [(23, 2), (21, 6), (18, 12), (5, 24)])
def test_a_window_that_crosses_midnight_is_as_long_as_it_is_and_not_two_days(start: int, length: int) -> None:
    random = np.random.default_rng(19)
    reference = sketch(table(random.normal(size=(200 * 24, 10))), hours(200 * 24))
    begin = START + timedelta(days=300, hours=start)
    minutes = pl.Series([begin + timedelta(minutes=at) for at in range(length * 60)])
    found = [(reference, table(random.normal(size=(length * 60, 10))), minutes) for _ in range(24)]
    assert alarms(found) <= 5


def test_a_fault_is_found_among_dependent_days() -> None:
    random = np.random.default_rng(23)
    whole = days_of(228, random)
    times, cut = hours(len(whole)), 200 * 24
    reference, now = sketch(whole.head(cut), times.head(cut)), whole.tail(28 * 24)
    shifted = now.with_columns(pl.col("number") + 3, some=pl.lit(None, pl.Float64))
    found = {each.column: each for each in judge([Compared(reference, shifted, times.tail(28 * 24))], alpha=0.05)}
    assert {name: each.status for name, each in found.items()} == {
        "number": "drifted",
        "some": "drifted",
        "category": "same",
    }
    assert (found["number"].what, found["some"].what) == ("place", "empty")


def test_an_old_bundle_with_a_column_called_format_has_no_references() -> None:
    assert references_from_dict({"format": {"kind": "number"}}) == []
