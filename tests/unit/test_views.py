"""Texts and instants are watched as numbers; a column that holds one value alone is called by rule."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.evaluation.constancy import Repeats
from tasks.evaluation.drift import judge
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.pairs import Compared
from tasks.evaluation.sketches import Reference, references_from_dict, references_to_dict, sketch
from tasks.evaluation.views import Viewed, picture_views, views_of, with_views
from tasks.stores.plain import to_json

RANDOM = np.random.default_rng(11)
START = datetime(2024, 1, 1, tzinfo=UTC)


def hours(count: int, after: int = 0) -> pl.Series:
    return pl.Series([START + timedelta(hours=after + at) for at in range(count)], dtype=pl.Datetime("us", "UTC"))


def notes(count: int, length: float = 40.0) -> pl.Series:
    """Texts of which no two are alike."""
    lengths = np.maximum(RANDOM.normal(length, 8, count).astype(int), 8)
    return pl.Series(
        [f"{at:08x}".ljust(long, "x") for at, long in zip(RANDOM.integers(1 << 32, size=count), lengths, strict=True)]
    )


def judged(reference: Reference, window: pl.DataFrame, times: pl.Series | None = None) -> dict[str, Drifted]:
    return {each.column: each for each in judge([Compared(reference, window, times)], alpha=0.05)}


def test_views_hold_the_right_numbers() -> None:
    times = hours(3)
    frame = pl.DataFrame(
        {
            "when": [START - timedelta(hours=5), START + timedelta(minutes=90), None],
            "day": [START.date()] * 3,
        },
        schema_overrides={"when": pl.Datetime("us", "UTC")},
    )
    views = views_of(frame, times)
    assert [each.name for each in views] == ["hours since when", "hours since day"]
    found = with_views(frame, times, views)
    assert found["hours since when"].to_list() == [5.0, -0.5, None]
    assert found["hours since day"].to_list() == [0.0, 1.0, 2.0]
    texts = with_views(pl.DataFrame({"t": ["äö", "", None]}), None, (Viewed("t", "length"),))
    assert texts["length of t"].to_list() == [2.0, 0.0, None]


def test_a_picture_is_looked_at_once_for_all_that_is_seen_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def light_of(content: object) -> tuple[float, float] | None:
        seen.append(content)
        return None if content is None else (0.25, 0.5)

    monkeypatch.setattr("tasks.evaluation.views.light_of", light_of)
    frame = pl.DataFrame({"one": [b"a", None], "other": [b"b", b"c"]})
    found = with_views(frame, None, picture_views(frame.columns))
    assert seen == [b"a", None, b"b", b"c"]
    assert found["brightness of one"].to_list() == [0.25, None]
    assert found["contrast of other"].to_list() == [0.5, 0.5]


def test_an_instant_of_a_request_is_read_as_it_is_journaled() -> None:
    frame = pl.DataFrame({"when": ["2023-12-31T19:00:00.000000Z", None, "2024-01-01T02:00:00Z"]})
    found = with_views(frame, hours(3), (Viewed("when", "age"),))
    assert found["hours since when"].to_list() == [5.0, None, 0.0]


def test_few_categories_and_numbers_have_no_view_and_a_name_that_is_taken_stays() -> None:
    frame = pl.DataFrame({"x": [1.0] * 30, "c": ["a", "b"] * 15, "t": [str(at) for at in range(30)]})
    assert views_of(frame, None) == (Viewed("t", "length"),)
    assert views_of(frame.with_columns(pl.lit(1).alias("length of t")), None) == ()


@pytest.mark.parametrize("rows", [1_000, 3_000])  # kept as rows, and as counts
def test_texts_that_grow_longer_are_called_though_none_comes_twice(rows: int) -> None:
    reference = sketch(pl.DataFrame({"note": notes(rows)}))
    (kept,) = references_from_dict(json.loads(to_json(references_to_dict([reference]))))
    for each in (reference, kept):
        assert {found.status for found in judged(each, pl.DataFrame({"note": notes(400)})).values()} == {"same"}
        longer = judged(each, pl.DataFrame({"note": notes(400, 60.0)}))["length of note"]
        assert (longer.status, longer.what) == ("drifted", "place")
        assert longer.effect == pytest.approx(2.5, abs=0.4)


def test_a_text_that_vanishes_is_called_once() -> None:
    reference = sketch(pl.DataFrame({"note": notes(3000)}))
    found = judged(reference, pl.DataFrame({"note": pl.Series([None] * 300, dtype=pl.String)}))
    assert (found["note"].status, found["note"].what) == ("drifted", "empty")
    assert found["length of note"].status == "same"


def test_an_instant_that_falls_behind_is_called_and_without_times_not_watched() -> None:
    times = hours(3000)
    behind = pl.Series(RANDOM.exponential(6, 3000))
    frame = pl.DataFrame({"seen": times - pl.Series([timedelta(hours=each) for each in behind])})
    reference = sketch(frame, times)
    later = hours(336, after=3000)
    lag = [timedelta(hours=float(each)) for each in RANDOM.exponential(6, 336)]
    usual = pl.DataFrame({"seen": (later - pl.Series(lag)).dt.to_string("iso:strict")})
    stale = pl.DataFrame({"seen": (later - pl.Series(lag) - timedelta(hours=24)).dt.to_string("iso:strict")})
    assert judged(reference, usual, later)["hours since seen"].status == "same"
    assert judged(reference, stale, later)["hours since seen"].status == "drifted"
    blind = judged(sketch(frame), frame)["seen"]
    assert blind.status == "undetermined"
    assert "not watched" in blind.reason


# --- one value alone --------------------------------------------------------------------------------------------------


def drawn(count: int) -> pl.Series:
    return pl.Series(RANDOM.normal(size=count))


def test_repeats_are_counted() -> None:
    assert Repeats.of(pl.Series([1.0, 1.0, None, 1.0, 2.0, float("nan"), 2.0, 3.0])) == Repeats(5, 3, 3)
    assert Repeats.of(pl.Series(["a"])) == Repeats(0, 0, 1)
    assert Repeats.of(pl.Series([], dtype=pl.Float64)) == Repeats(0, 0, 0)


def test_the_chance_of_one_value_is_that_of_repeating_it() -> None:
    seen = Repeats(98, 48, 6)
    assert seen.chance_of_constant(pl.Series([4.0] * 13)) == pytest.approx(0.49**12)
    assert seen.chance_of_constant(pl.Series([4.0] * 11)) is None  # a value stayed for six rows before
    assert seen.chance_of_constant(pl.Series([4.0] * 12 + [5.0])) is None
    assert seen.chance_of_constant(pl.Series([None] * 13, dtype=pl.Float64)) is None


@pytest.mark.parametrize("rows", [120, 3_000])
def test_a_sensor_that_sticks_is_called_where_nothing_else_can_be_told(rows: int) -> None:
    steps = np.cumsum(RANDOM.normal(size=rows))  # a walk: nothing is known of where it may go
    (reference,) = references_from_dict(json.loads(to_json(references_to_dict([sketch(pl.DataFrame({"x": steps}))]))))
    stuck = judged(reference, pl.DataFrame({"x": [float(steps[-1])] * 100}))["x"]
    assert (stuck.status, stuck.what) == ("drifted", "constant")
    moving = judged(reference, pl.DataFrame({"x": steps[-1] + np.cumsum(RANDOM.normal(size=100))}))["x"]
    assert moving.status == "undetermined"


@pytest.mark.parametrize("kind", ["number", "text"])
def test_what_stays_for_long_by_nature_is_not_called(kind: str) -> None:
    """A month of a column that says the month."""
    values: Any = [f"m{at // 720}" if kind == "text" else float(at // 720) for at in range(12 * 720)]
    reference = sketch(pl.DataFrame({"x": values}), hours(len(values)))
    month = pl.DataFrame({"x": values[720:1440]})
    assert judged(reference, month, hours(720, after=12 * 720))["x"].what != "constant"


def test_a_sketch_from_before_repeats_were_counted_calls_nothing_constant() -> None:
    content = references_to_dict([sketch(pl.DataFrame({"x": np.cumsum(RANDOM.normal(size=3000))}))])
    for each in content["tables"][0]["columns"].values():
        del each["repeats"]
    del content["tables"][0]["views"]
    (older,) = references_from_dict(content)
    assert judged(older, pl.DataFrame({"x": [1.5] * 200}))["x"].what != "constant"
