"""What was served: the windows it falls into, and the rows that belong to none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from expectations.windows import TICK, Count, Grid, Window
from tasks.stores.journal import CLOCK_MARGIN
from tasks.stores.lake import Lake

Why = Literal["learnt", "ahead"]


@dataclass(frozen=True, order=True)
class ServedWindow:
    """A window that is closed and has predictions, and the bundle and version that answered most of it."""

    window: Window
    bundle: str
    version: str


@dataclass(frozen=True)
class Strays:
    """Predictions of one bundle that are in no window.

    Attributes
    ----------
    why : {"learnt", "ahead"}
        From before the end of what the bundle had learnt from, so no test of it; or later than both this run's instant
        and the moment they were answered.
    first, last : datetime
        Event times.
    """

    bundle: str
    version: str
    why: Why
    rows: int
    first: datetime
    last: datetime


def find_asked(lake: Lake, grid: Grid) -> list[datetime]:
    """Return the beginnings of all windows in which a prediction was asked for, by when it was answered, in order."""
    rows = lake.scan("predictions").select(grid.start("served_at").alias("start").unique())
    starts: list[datetime] = rows.collect(engine="streaming")["start"].drop_nulls().sort().to_list()
    return starts


def find_served(
    lake: Lake,
    windows: Grid | Count,
    cutoffs: Mapping[str, datetime],
    as_of: datetime,
    closed: Sequence[Window] = (),
) -> tuple[list[ServedWindow], list[Strays]]:
    """Find the closed windows that have predictions, oldest first, and what lies in none.

    Parameters
    ----------
    closed : sequence of Window
        Those that were closed before. Windows by count begin after them: a row that comes late lies in one of them.
    cutoffs : mapping of str to datetime
        Bundle -> up to when it has learnt. Where a client's clock is wrong, or somebody asks about the past, event
        times may lie anywhere; windows lie between here and `as_of`, so their number does not grow with such rows.
    """
    rows = lake.scan("predictions").select("event_time", "served_at", "bundle", "version")
    known = pl.LazyFrame(
        {"bundle": list(cutoffs), "_cutoff": list(cutoffs.values())},
        schema={"bundle": pl.String, "_cutoff": pl.Datetime("us", "UTC")},
    )
    learnt = (pl.col("event_time") <= pl.col("_cutoff")).fill_null(value=False)
    later = pl.col("event_time") >= as_of
    ahead = later & (pl.col("event_time") > pl.col("served_at") + CLOCK_MARGIN)
    why = (
        pl.when(learnt)
        .then(pl.lit("learnt"))
        .when(ahead)
        .then(pl.lit("ahead"))
        .when(later)
        .then(pl.lit("later"))  # a later run's: every one meets some that were served after its instant
    )
    told = rows.join(known, on="bundle", how="left").with_columns(why.alias("why"))
    if isinstance(windows, Grid):
        found_in = {}
        placed = told.with_columns(pl.when(pl.col("why").is_null()).then(windows.start("event_time")).alias("start"))
    else:
        found_in = {each.start: each for each in _counted(told, windows, cutoffs, closed)}
        placed = _placed(told, list(found_in.values()))
    counted = (
        placed.group_by("start", "bundle", "version", "why")
        .agg(
            pl.len().alias("rows"),
            pl.col("event_time").min().alias("first"),
            pl.col("event_time").max().alias("last"),
        )
        .collect(engine="streaming")
    )
    found = (
        counted.filter(pl.col("why").is_null())
        .group_by("start", "bundle")
        .agg(pl.col("rows").sum(), pl.col("version").sort_by("last").last())
        .sort("start", "rows", "bundle")
        .unique("start", keep="last", maintain_order=True)
        .select("start", "bundle", "version")
    )
    strays = (
        counted.filter(pl.col("why").is_in(["learnt", "ahead"]))
        .select("bundle", "version", "why", "rows", "first", "last")
        .sort("bundle", "version", "why")
    )
    served = [
        ServedWindow(
            Window(start, windows.after(start)) if isinstance(windows, Grid) else found_in[start], bundle, version
        )
        for start, bundle, version in found.drop_nulls("start").iter_rows()
    ]
    return [each for each in served if each.window.end <= as_of], [Strays(*row) for row in strays.iter_rows()]


def _counted(
    told: pl.LazyFrame, windows: Count, cutoffs: Mapping[str, datetime], closed: Sequence[Window]
) -> list[Window]:
    """Return the windows that were closed before and those that are full now, oldest first."""
    newest = max(closed, key=lambda each: each.end, default=None)
    times = told.filter(pl.col("why").is_null()).select("event_time")
    if newest is not None:
        times = times.filter(pl.col("event_time") >= newest.end)
    learnt = min(cutoffs.values(), default=None)
    begin = None if learnt is None else learnt + TICK
    came = times.collect(engine="streaming")["event_time"].drop_nulls().sort()
    return [*sorted(closed), *windows.cut(came, newest, begin)]


def _placed(told: pl.LazyFrame, windows: Sequence[Window]) -> pl.LazyFrame:
    """Say of rows in which window they lie; nothing of those that lie in none, or in one that is not full yet."""
    instants = pl.Datetime("us", "UTC")
    bounds = pl.LazyFrame(
        {"start": [each.start for each in windows], "_end": [each.end for each in windows]},
        schema={"start": instants, "_end": instants},
    )
    inside = pl.col("why").is_null() & (pl.col("event_time") < pl.col("_end"))
    return (
        told.sort("event_time")
        .join_asof(bounds.sort("start"), left_on="event_time", right_on="start", coalesce=False)
        .with_columns(pl.when(inside).then("start").alias("start"))
    )
