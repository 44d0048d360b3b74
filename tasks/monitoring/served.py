"""What was served: the windows it falls into, and the rows that belong to none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from expectations.windows import Grid, Window
from tasks.stores.journal import CLOCK_MARGIN
from tasks.stores.lake import Lake

Why = Literal["learnt", "ahead"]


@dataclass(frozen=True, order=True)
class ServedWindow:
    """A closed window with predictions, and the bundle and version that answered most of it."""

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
    lake: Lake, grid: Grid, cutoffs: Mapping[str, datetime], as_of: datetime
) -> tuple[list[ServedWindow], list[Strays]]:
    """Find the closed windows that have predictions, oldest first, and what lies in none.

    Parameters
    ----------
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
    counted = (
        rows.join(known, on="bundle", how="left")
        .with_columns(why.alias("why"))
        .with_columns(pl.when(pl.col("why").is_null()).then(grid.start("event_time")).alias("start"))
        .group_by("start", "bundle", "version", "why")
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
    windows = [
        ServedWindow(Window(start, grid.after(start)), bundle, version)
        for start, bundle, version in found.iter_rows()
        if grid.after(start) <= as_of
    ]
    return windows, [Strays(*row) for row in strays.iter_rows()]
