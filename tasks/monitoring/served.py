"""What was served: the windows it falls into, and the rows that belong to none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from expectations.alert_rules import Strays
from expectations.windows import TICK, Count, Grid, Window
from tasks.stores.journal import CLOCK_MARGIN
from tasks.stores.lake import Lake


@dataclass(frozen=True, order=True)
class ServedWindow:
    """A window that is closed and has predictions, and the bundle and version that answered most of it."""

    window: Window
    bundle: str
    version: str


_READ = ("event_time", "served_at", "bundle", "version")


def find_asked(rows: pl.LazyFrame, grid: Grid) -> list[datetime]:
    """Return the beginnings of all windows in which some predictions were asked for, by when they were answered."""
    return _starts(rows.select(grid.start("served_at").alias("start")))


def find_served(
    lake: Lake,
    windows: Grid | Count,
    cutoffs: Mapping[str, datetime],
    as_of: datetime,
    closed: Sequence[Window] = (),
    *,
    since: datetime | None = None,
    late: Sequence[Window] = (),
) -> tuple[list[ServedWindow], list[Strays]]:
    """Find the closed windows that have predictions, oldest first, and what lies in none.

    Parameters
    ----------
    closed : sequence of Window
        Those that were closed before. Windows by count begin after them: a row that comes late lies in one of them.
    cutoffs : mapping of str to datetime
        Bundle -> up to when it has learnt. Where a client's clock is wrong, or a client asks about the past, event
        times may lie anywhere; windows lie between here and `as_of`, so their number does not grow with such rows.
    since : datetime, optional
        Where a window begins; earlier ones are not looked for, nor read. Of rows that the bundle has learnt from those
        before it are not found either.
    late : sequence of Window
        Windows before that, by the calendar, that are looked for all the same.
    """
    everything = lake.scan("predictions").select(_READ)
    rows = everything if since is None else everything.filter(pl.col("event_time") >= since)
    if late and isinstance(windows, Grid):
        begins, ends = zip(*((each.start, each.end) for each in late), strict=True)
        span = everything.filter((pl.col("event_time") >= min(begins)) & (pl.col("event_time") < max(ends)))
        inside = windows.start("event_time").is_in(pl.Series(begins, dtype=pl.Datetime("us", "UTC")).implode())
        rows = pl.concat([rows, span.filter(inside)])
    with_reasons = _why(rows, cutoffs, as_of)
    if isinstance(windows, Grid):
        found_in = {}
        placed = with_reasons.with_columns(
            pl.when(pl.col("why").is_null()).then(windows.start("event_time")).alias("start")
        )
    else:
        found_in = {each.start: each for each in _counted(with_reasons, windows, cutoffs, closed)}
        placed = _placed(with_reasons, list(found_in.values()))
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
    served = [
        ServedWindow(
            Window(start, windows.after(start)) if isinstance(windows, Grid) else found_in[start], bundle, version
        )
        for start, bundle, version in found.drop_nulls("start").iter_rows()
    ]
    return [each for each in served if each.window.end <= as_of], _strays(counted, ("learnt", "ahead"))


def find_learnt(rows: pl.LazyFrame, cutoffs: Mapping[str, datetime], as_of: datetime) -> list[Strays]:
    """Find those of some predictions that are about what their bundle had learnt from."""
    with_reasons = _why(rows, cutoffs, as_of).filter(pl.col("why") == "learnt")
    counted = with_reasons.group_by("bundle", "version", "why").agg(
        pl.len().alias("rows"), pl.col("event_time").min().alias("first"), pl.col("event_time").max().alias("last")
    )
    return _strays(counted.collect(engine="streaming"), ("learnt",))


def find_late(
    rows: pl.LazyFrame, grid: Grid, cutoffs: Mapping[str, datetime], as_of: datetime, since: datetime
) -> list[Window]:
    """Find the windows before an instant that some predictions lie in, oldest first."""
    with_reasons = _why(rows.filter(pl.col("event_time") < since), cutoffs, as_of).filter(pl.col("why").is_null())
    return [
        Window(start, grid.after(start))
        for start in _starts(with_reasons.select(grid.start("event_time").alias("start")))
    ]


def _starts(rows: pl.LazyFrame) -> list[datetime]:
    starts: list[datetime] = rows.unique().collect(engine="streaming")["start"].drop_nulls().sort().to_list()
    return starts


def _strays(counted: pl.DataFrame, why: Sequence[str]) -> list[Strays]:
    found = counted.filter(pl.col("why").is_in(why)).select("bundle", "version", "why", "rows", "first", "last")
    return [Strays(*row) for row in found.sort("bundle", "version", "why").iter_rows()]


def _why(rows: pl.LazyFrame, cutoffs: Mapping[str, datetime], as_of: datetime) -> pl.LazyFrame:
    """Say of predictions why they are in no window; nothing of those that are in one."""
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
    return rows.join(known, on="bundle", how="left").with_columns(why.alias("why"))


def _counted(
    with_reasons: pl.LazyFrame, windows: Count, cutoffs: Mapping[str, datetime], closed: Sequence[Window]
) -> list[Window]:
    """Return the windows that were closed before and those that are full now, oldest first."""
    newest = max(closed, key=lambda each: each.end, default=None)
    times = with_reasons.filter(pl.col("why").is_null()).select("event_time")
    if newest is not None:
        times = times.filter(pl.col("event_time") >= newest.end)
    learnt = min(cutoffs.values(), default=None)
    begin = None if learnt is None else learnt + TICK
    came = times.collect(engine="streaming")["event_time"].drop_nulls().sort()
    return [*sorted(closed), *windows.cut(came, newest, begin)]


def _placed(with_reasons: pl.LazyFrame, windows: Sequence[Window]) -> pl.LazyFrame:
    """Say of rows in which window they lie; nothing of those that lie in none, or in one that is not full yet."""
    instants = pl.Datetime("us", "UTC")
    bounds = pl.LazyFrame(
        {"start": [each.start for each in windows], "_end": [each.end for each in windows]},
        schema={"start": instants, "_end": instants},
    )
    inside = pl.col("why").is_null() & (pl.col("event_time") < pl.col("_end"))
    return (
        with_reasons.sort("event_time")
        .join_asof(bounds.sort("start"), left_on="event_time", right_on="start", coalesce=False)
        .with_columns(pl.when(inside).then("start").alias("start"))
    )
