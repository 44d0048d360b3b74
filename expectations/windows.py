"""Windows of event time, by the calendar or by count: half-open, and the same whenever they are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, get_args
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
    """[start, end) in event time.

    Attributes
    ----------
    counted : tuple of int, optional
        Of a window by count, the numbers of its first and its last row when it was closed.
    """

    start: datetime
    end: datetime
    counted: tuple[int, int] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Window:
        """Make it of what JSON kept, with more beside it or not."""
        first, last = content.get("counted") or (0, 0)
        bounds = datetime.fromisoformat(content["start"]), datetime.fromisoformat(content["end"])
        return cls(*bounds, (first, last) if last else None)

    @property
    def name(self) -> str:
        """What to call it in a table: by its rows, else by its start, to the minute where that begins no day."""
        return name_of(self.start, self.counted)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        content: dict[str, Any] = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return {**content, "counted": list(self.counted)} if self.counted else content

    def ripe(self, available_after: Duration, as_of: datetime) -> bool:
        """Whether every label of the window may be known at `as_of`."""
        return available_after.after(self.end) <= as_of

    def __str__(self) -> str:
        if self.counted:
            return name_of(self.start, self.counted)
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


def name_of(start: datetime, counted: tuple[int, int] | None) -> str:
    """Return what to call a window in a table; as `Window.name`, for those that have no `Window` at hand."""
    if counted:
        return "rows {}-{}".format(*counted)
    text = start.isoformat(" ", "minutes")[:16]  # `strftime` takes ten times as long, and pages name 1,200
    return text[:10] if text.endswith("00:00") else text


TICK = timedelta(microseconds=1)
"""From an instant to the next one there is."""


@dataclass(frozen=True)
class Count:
    """Windows of so many rows, in the order of their event times; rows of one instant stay together.

    A window is closed as soon as it is full, and its bounds never move: what comes late lies in one that is closed.
    """

    rows: int

    def cut(self, times: pl.Series, after: Window | None = None, begin: datetime | None = None) -> list[Window]:
        """Cut rows into windows that are full; those left over at the end are in none yet.

        Parameters
        ----------
        times : polars.Series of datetime
            When rows were, in order.
        after : Window, optional
            The newest that is closed: the next one begins where it ends.
        begin : datetime, optional
            Where the first of all begins; the first row where that is earlier.
        """
        if after is not None:
            start, number = after.end, after.counted[1] if after.counted else 0
            times = times.filter(times >= start)
        elif times.is_empty():
            return []
        else:
            first: datetime = times[0]
            start, number = min(begin or first, first), 0
        found, at = [], 0
        while at + self.rows <= len(times):
            last: datetime = times[at + self.rows - 1]
            until = int(times.search_sorted(last, "right"))
            found.append(Window(start, last + TICK, (number + at + 1, number + until)))
            start, at = last + TICK, until
        return found


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
