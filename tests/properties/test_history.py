"""What a row gets from earlier rows: the same for one row and for many, and never from rows that it may not see."""

import math
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import TrainingError
from expectations.history import AggregateName, HistoryColumn
from infra.serving.looking_back import KeptHistory, RowHistory
from tasks.preprocessing.history.aggregates import AGGREGATES
from tasks.preprocessing.history.earlier_rows import key_of
from tasks.preprocessing.history.looking_back import look_back_in
from tasks.preprocessing.history.series import EntitySeries, series_of, ticks_of
from tasks.preprocessing.history.state import from_bytes, to_bytes

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA: dict[str, Any] = {"at": pl.Datetime("us", "UTC"), "who": pl.String, "where": pl.Int64, "x": pl.Float64}
MINUTES = st.integers(0, 40).map(lambda number: BEGIN + timedelta(minutes=number))
ROWS = st.lists(
    st.tuples(
        MINUTES,
        st.sampled_from(["a", "b", None]),
        st.sampled_from([1, 2]),
        st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, -0.0, 1e300, 1e-300, math.nan, math.inf])),
    ),
    max_size=25,
)
SPANS = st.integers(1, 20).map(lambda number: f"{number}m")


@st.composite
def columns(draw: st.DrawFn) -> HistoryColumn:
    known_after = draw(st.one_of(st.just("0m"), SPANS))
    by = draw(st.sampled_from([[], ["who"], ["who", "where"]]))
    way = draw(
        st.one_of(
            st.integers(0, 20).map(lambda more: {"lag": f"{max(1, int(known_after[:-1]) + more)}m"}),
            st.integers(1, 3).map(lambda number: {"rows": number}),
            st.tuples(SPANS, st.sampled_from(sorted(AGGREGATES))).map(lambda two: {"window": two[0], "as": two[1]}),
        )
    )
    return declared(of="x", by=by, known_after=known_after, **way)


def declared(**fields: Any) -> HistoryColumn:
    return HistoryColumn.model_validate({**fields, "by": tuple(fields.get("by", ()))})


def frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").sort("at", maintain_order=True)


@dataclass
class Request:
    """A row as the service reads it."""

    at: str
    who: str | None
    where: int
    x: float | None
    seen: float | None = None


def one_by_one(column: HistoryColumn, past: pl.DataFrame | EntitySeries, asked: pl.DataFrame) -> list[float | None]:
    """Return what the service fills in for one request after the other, by the state that is written for it."""
    series = past if isinstance(past, EntitySeries) else series_of(past, column.of, column.by, "at")
    history = RowHistory({"seen": column}, {name: name for name in (*SCHEMA, "seen")}, "at")
    history.kept = KeptHistory(Path())
    history.kept.series = from_bytes(to_bytes({key_of(column): series}))
    rows = [Request(at.isoformat(), *others) for at, *others in asked.select([*SCHEMA]).rows()]
    for row in rows:
        history.fill([row])
    assert "before" not in history.counts
    return [row.seen for row in rows]


def bits(values: list[float | None]) -> list[bytes | None]:
    return [None if value is None else np.float64(value).tobytes() for value in values]


@given(columns(), ROWS, ROWS)
def test_one_row_sees_what_many_see_bit_by_bit(
    column: HistoryColumn, past: list[tuple[Any, ...]], asked: list[tuple[Any, ...]]
) -> None:
    known, rows = frame(past), frame(asked)
    together = look_back_in(column, series_of(known, column.of, column.by, "at"), rows, "at")
    assert bits(together.to_list()) == bits(one_by_one(column, known, rows))


@given(columns(), ROWS, ROWS, MINUTES)
def test_nothing_is_seen_of_rows_that_could_not_be_known(
    column: HistoryColumn, past: list[tuple[Any, ...]], later: list[tuple[Any, ...]], at: datetime
) -> None:
    """Whatever rows come at or after the time that may be seen, the answer stays."""
    asked = frame([(at, "a", 1, None)])
    delay = timedelta(seconds=column.known_after.seconds)
    unknowable = [row for row in later if (row[0] > at - delay if delay else row[0] >= at)]
    before, after = (one_by_one(column, frame(rows), asked) for rows in (past, past + unknowable))
    assert bits(before) == bits(after)


@given(columns(), ROWS, MINUTES, st.integers(0, 40))
def test_what_is_kept_of_a_past_suffices_for_rows_that_need_no_more(
    column: HistoryColumn, past: list[tuple[Any, ...]], at: datetime, minutes: int
) -> None:
    since = at - timedelta(seconds=column.seconds_back) - timedelta(minutes=minutes)
    whole = series_of(frame(past), column.of, column.by, "at")
    kept = whole.kept(ticks_of(since), column.rows_back)
    asked = frame([(at, "a", 1, None)])
    assert bits(one_by_one(column, whole, asked)) == bits(one_by_one(column, kept, asked))
    older = [sum(kept.times[first:after] < ticks_of(since)) for first, after in kept.entities.values()]
    assert all(number <= column.rows_back for number in older), "no more than is needed"


@pytest.mark.parametrize("name", sorted(AGGREGATES))
def test_a_long_window_is_added_up_one_value_after_the_other(name: AggregateName) -> None:
    """Sums by pairs, as NumPy's are from some length on, or with what was lost made up for, would differ."""
    values = np.random.default_rng(7).normal(1e3, 1e4, 10_080) * 10.0 ** np.random.default_rng(8).integers(
        -6, 7, 10_080
    )
    aggregate = AGGREGATES[name]
    places = np.arange(0, 10_080, 2_016)
    together = aggregate.of_windows(values, places, np.full(len(places), 10_080))
    assert bits([aggregate.of_values(values[place:]) for place in places]) == bits(together.tolist())


HOURLY = frame([(BEGIN + timedelta(hours=hour), "a", 1, float(hour * hour)) for hour in range(10)])


@pytest.mark.parametrize(
    ("way", "seen"),
    [
        ({"lag": "3h"}, 9.0),
        ({"lag": "3h", "known_after": "3h"}, 9.0),
        ({"lag": "90m"}, 16.0),
        ({"lag": "7h"}, None),
        ({"rows": 1}, 25.0),
        ({"rows": 3}, 9.0),
        ({"rows": 1, "known_after": "1h"}, 25.0),
        ({"rows": 1, "known_after": "61m"}, 16.0),
        ({"window": "3h", "as": "count"}, 2.0),
        ({"window": "3h", "as": "sum", "known_after": "1h"}, 25.0 + 16 + 9),
        ({"window": "3h", "as": "mean", "known_after": "1h"}, 50 / 3),
        ({"window": "3h", "as": "min", "known_after": "1h"}, 9.0),
        ({"window": "3h", "as": "max", "known_after": "1h"}, 25.0),
        ({"window": "3h", "as": "std", "known_after": "1h"}, statistics.stdev([9, 16, 25])),
        ({"window": "1h", "as": "std", "known_after": "1h"}, None),
        ({"window": "1h", "as": "mean"}, None),
        ({"window": "1h", "as": "count"}, 0.0),
    ],
)
def test_what_a_row_at_six_sees_of_hourly_squares(way: dict[str, Any], seen: float | None) -> None:
    asked = frame([(BEGIN + timedelta(hours=6), "a", 1, None)])
    (found,) = one_by_one(declared(of="x", by=["who"], **way), HOURLY, asked)
    assert found == (None if seen is None else pytest.approx(seen, rel=1e-15))


def test_who_was_never_seen_or_is_not_told_has_no_past() -> None:
    asked = frame([(BEGIN + timedelta(hours=6), who, 1, None) for who in ("b", None)])
    assert one_by_one(declared(of="x", by=["who"], rows=1), HOURLY, asked) == [None, None]
    assert one_by_one(declared(of="x", by=["who"], window="1d", **{"as": "count"}), HOURLY, asked) == [0.0, None]


def test_names_of_aggregates_are_those_that_may_be_declared() -> None:
    assert set(get_args(AggregateName)) == set(AGGREGATES)


def test_what_holds_no_numbers_is_refused() -> None:
    with pytest.raises(TrainingError, match="numbers in who"):
        series_of(HOURLY, "who", (), "at")
    with pytest.raises(TrainingError, match="at Datetime"):
        series_of(HOURLY, "x", ("at",), "at")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "found none of them"),
        ({"lag": "1d", "rows": 1}, "found lag and rows"),
        ({"window": "7d"}, "is summed up by `as`"),
        ({"lag": "1d", "as": "mean"}, "leave it out"),
        ({"lag": "1h", "known_after": "2h"}, "shorter than `known_after`"),
        ({"lag": "1mo"}, "differ in length"),
        ({"window": "7d", "as": "median"}, "mean"),
        ({"rows": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        declared(of="x", **fields)
