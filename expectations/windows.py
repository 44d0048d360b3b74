"""Windows of event time: half-open, and the same whenever somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from expectations.durations import Duration

_EPOCH_MICROSECONDS = (datetime(1970, 1, 1, tzinfo=UTC) - datetime(1, 1, 1, tzinfo=UTC)).days * 86_400_000_000
"""From where `Duration.floor` counts to where Polars does."""


@dataclass(frozen=True, order=True)
class Window:
    """[start, end) in event time."""

    start: datetime
    end: datetime

    def ripe(self, available_after: Duration, as_of: datetime) -> bool:
        """Whether every label of the window may be known at `as_of`."""
        return available_after.after(self.end) <= as_of

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


def window_of(every: Duration, moment: datetime) -> Window:
    """Return the window a moment falls into."""
    start = every.floor(moment)
    return Window(start, every.after(start))


def window_start(every: Duration, column: str) -> pl.Expr:
    """Return the start of the window each instant of a column falls into, as `window_of` does for one."""
    instants = pl.col(column)
    if every.months:
        months = (instants.dt.year().cast(pl.Int64) * 12 + instants.dt.month() - 1) // every.months * every.months
        return pl.datetime(months // 12, months % 12 + 1, 1, time_unit="us", time_zone="UTC")
    since = instants.dt.epoch("us") + _EPOCH_MICROSECONDS
    return (instants.dt.epoch("us") - since % (every.seconds * 1_000_000)).cast(pl.Datetime("us", "UTC"))
