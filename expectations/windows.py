"""Windows of event time: half-open, and the same whenever somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import polars as pl

from expectations.durations import Duration

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_DAY = 86400
_LATE = (0, 30, 60, 120, 180, 1440)
"""Minutes that clocks were put forward at midnight, a day where the date line was crossed."""
_EPOCH_DAYS = date(1970, 1, 1).toordinal() - 1
"""Days from Monday 0001-01-01, which windows count from, to where Polars counts from."""


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


@dataclass(frozen=True)
class Grid:
    """Windows one after the other over all of time; they do not depend on when monitoring was switched on.

    Months count from January of year 1, weeks and days from the first `week` day of year 1, from midnight to midnight
    in `timezone`: the day a clock is put forward is an hour shorter. Spans that are no whole days count in UTC.
    """

    every: Duration
    timezone: str = "UTC"
    week: Weekday = "monday"

    def window_of(self, moment: datetime) -> Window:
        """Return the window a moment falls into."""
        if not self._by_day:
            start = self.every.floor(moment.astimezone(UTC))
            return Window(start, self.every.after(start))
        day = self._first_day(moment.astimezone(ZoneInfo(self.timezone)).date())
        return Window(self._midnight(day), self._midnight(self._next_day(day)))

    def after(self, start: datetime) -> datetime:
        """Return the end of the window that begins at `start`."""
        return self.window_of(start).end

    def between(self, start: datetime, end: datetime) -> int:
        """Count the whole windows from one's beginning to an instant."""
        if not self._by_day:
            return max(0, (end - start) // timedelta(seconds=self.every.seconds))
        count = 0
        while (start := self.after(start)) <= end:
            count += 1
        return count

    def start(self, column: str) -> pl.Expr:
        """Return the start of the window each instant of a column falls into, as `window_of` does for one."""
        instants = pl.col(column)
        if not self._by_day:
            since = instants.dt.epoch("us") + _EPOCH_DAYS * _DAY * 1_000_000
            return (instants.dt.epoch("us") - since % (self.every.seconds * 1_000_000)).cast(pl.Datetime("us", "UTC"))
        days = instants.dt.convert_time_zone(self.timezone).dt.date()
        if self.every.months:
            months = (days.dt.year().cast(pl.Int64) * 12 + days.dt.month() - 1) // self.every.months * self.every.months
            first = pl.date(months // 12, months % 12 + 1, 1)
        else:
            count = days.cast(pl.Int32).cast(pl.Int64)
            first = (count - (count + _EPOCH_DAYS - self._shift) % self._days).cast(pl.Int32).cast(pl.Date)
        midnight = first.cast(pl.Datetime("us"))
        # where a clock is put forward at midnight, or leaves a day out, the day begins with what comes after it
        local = [
            (midnight + timedelta(minutes=late)).dt.replace_time_zone(
                self.timezone, ambiguous="earliest", non_existent="null"
            )
            for late in _LATE
        ]
        return pl.coalesce(local).dt.convert_time_zone("UTC")

    @property
    def _by_day(self) -> bool:
        return bool(self.every.months) or self.every.seconds % _DAY == 0

    @property
    def _days(self) -> int:
        return self.every.seconds // _DAY

    @property
    def _shift(self) -> int:
        """Days from a Monday to where windows of whole weeks begin."""
        return get_args(Weekday).index(self.week) if self._days % 7 == 0 else 0

    def _first_day(self, day: date) -> date:
        shift = timedelta(days=0 if self.every.months else self._shift)
        return (self.every.floor(datetime.combine(day, time()) - shift) + shift).date()

    def _next_day(self, day: date) -> date:
        return self.every.after(datetime.combine(day, time())).date()

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), ZoneInfo(self.timezone)).astimezone(UTC)
