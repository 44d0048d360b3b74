"""Laws that hold whatever the numbers."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from expectations.durations import Duration
from expectations.gates import Interval
from expectations.windows import Grid, Weekday
from tasks.evaluation.gates import AbsoluteGate, ComparisonGate
from tasks.evaluation.interval import time_blocks
from tasks.evaluation.splits import cut_newest, rolling_origin

MOMENTS = st.datetimes(datetime(1800, 1, 1), datetime(2500, 1, 1)).map(lambda m: m.replace(tzinfo=UTC))  # noqa: DTZ001
SPANS = st.sampled_from(["7s", "15m", "30m", "90m", "1h", "6h", "1d", "1w", "1mo", "5mo", "1q", "1y"]).map(
    Duration.parse
)


@given(hours=st.lists(st.integers(0, 40), max_size=60), share=st.floats(0.01, 0.99))
def test_a_cut_is_a_partition_forward_in_time(hours: list[int], share: float) -> None:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {"t": [start + timedelta(hours=h) for h in hours], "i": range(len(hours))},
        schema={"t": pl.Datetime("us", "UTC"), "i": pl.Int64},
    )
    older, newest = cut_newest(frame, "t", share)
    assert sorted([*older["i"], *newest["i"]]) == list(range(len(hours)))
    if len(older) and len(newest):
        assert older["t"].max() < newest["t"].min()
    if hours:
        assert len(newest)


@given(n=st.integers(0, 500), folds=st.integers(1, 8))
def test_rolling_origin_never_looks_ahead_and_tests_each_row_once(n: int, folds: int) -> None:
    tested = []
    for train, test in rolling_origin(n, folds):
        assert train.start == 0
        assert train.stop == test.start
        tested += range(*test.indices(n))
    assert tested == list(range(n // (folds + 1), n))


# Lord Howe moves its clock by half an hour, Santiago at midnight; Kathmandu lies 5:45 off; Apia once left out a day,
# and Casey went on by three hours at midnight
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu"]
ZONES += ["Pacific/Apia", "Antarctica/Casey"]
GRIDS = st.builds(Grid, SPANS, st.sampled_from(ZONES), st.sampled_from(get_args(Weekday)))


@given(grid=GRIDS, moment=MOMENTS)
def test_windows_tile_time(grid: Grid, moment: datetime) -> None:
    window = grid.window_of(moment)
    assert window.start <= moment < window.end
    assert grid.window_of(window.start) == window
    assert grid.window_of(window.end).start == window.end == grid.after(window.start)
    assert grid.window_of(window.start - timedelta(microseconds=1)).end == window.start


# polars keeps no summer time beyond 2099, and no zone's own before 1900
KNOWN = st.datetimes(datetime(1900, 1, 1), datetime(2099, 1, 1)).map(lambda m: m.replace(tzinfo=UTC))  # noqa: DTZ001


@given(grid=GRIDS, moments=st.lists(KNOWN, max_size=20))
def test_a_column_of_instants_falls_into_the_windows_each_falls_into(grid: Grid, moments: list[datetime]) -> None:
    column = pl.Series("t", moments, dtype=pl.Datetime("us", "UTC"))
    starts = column.to_frame().select(grid.start("t").alias("t")).to_series()
    assert starts.to_list() == [grid.window_of(moment).start for moment in moments]


@given(value=st.floats(-1, 1), bound=st.floats(-1, 1), ease=st.floats(0, 1))
def test_relaxing_a_gate_never_turns_a_pass_into_a_fail(value: float, bound: float, ease: float) -> None:
    strict, relaxed = (AbsoluteGate(metric="m", min=b).check({"m": value}, None) for b in (bound, bound - ease))
    assert not (strict.outcome == "pass" and relaxed.outcome == "fail")
    gain = {"m": Interval(value, value - 0.1, value + 0.1)}
    margins = (abs(bound), abs(bound) + ease)
    tight, wide = (ComparisonGate(metric="m", versus="champion", margin=m).check({}, gain) for m in margins)
    assert not (tight.outcome == "pass" and wide.outcome == "fail")


@given(st.lists(st.floats(0, 1e8), min_size=1, max_size=200), st.sampled_from([3600.0, 86400.0]))
def test_blocks_are_numbered_without_gaps(seconds: list[float], length: float) -> None:
    blocks = time_blocks(np.array(seconds), length)
    assert set(blocks) == set(range(int(blocks.max()) + 1)) or len(seconds) < 10
