"""Parts of an instant, as a calendar and a clock in a time zone show them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import Field

from expectations.fields import Zone
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import REMEMBERED_INSTANTS

CalendarPart = Literal["minute", "hour", "day", "weekday", "month", "quarter", "week", "day_of_year", "year", "weekend"]
OF_COLUMN: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "minute": lambda t: t.dt.minute(),
    "hour": lambda t: t.dt.hour(),
    "day": lambda t: t.dt.day(),
    "weekday": lambda t: t.dt.weekday() - 1,
    "month": lambda t: t.dt.month(),
    "quarter": lambda t: t.dt.quarter(),
    "week": lambda t: t.dt.week(),
    "day_of_year": lambda t: t.dt.ordinal_day(),
    "year": lambda t: t.dt.year(),
    "weekend": lambda t: t.dt.weekday() >= 6,
}
OF_INSTANT: dict[str, Callable[[datetime], int]] = {
    "minute": lambda t: t.minute,
    "hour": lambda t: t.hour,
    "day": lambda t: t.day,
    "weekday": lambda t: t.weekday(),
    "month": lambda t: t.month,
    "quarter": lambda t: (t.month + 2) // 3,
    "week": lambda t: t.isocalendar().week,
    "day_of_year": lambda t: t.timetuple().tm_yday,
    "year": lambda t: t.year,
    "weekend": lambda t: t.weekday() >= 5,
}


@dataclass(frozen=True)
class PartsOfInstants(FittedStep):
    """Parts of the instant in `column`, as seen in `timezone`, each a column; missing where the instant is.

    The executors agree on instants from 1970 to 2099: beyond, Polars knows other changes of the clock than `zoneinfo`.
    """

    reads_instant_texts: ClassVar[bool] = True

    column: str
    parts: tuple[str, ...]
    timezone: str

    @property
    def touches(self) -> tuple[str, ...]:
        """The instant, and its parts."""
        return (self.column, *self.made)

    @property
    def made(self) -> tuple[str, ...]:
        """Names of the columns that are made, in their order."""
        return tuple(f"{self.column}_{part}" for part in self.parts)

    @property
    def local(self) -> pl.Expr:
        """The instants as its time zone shows them."""
        return pl.col(self.column).dt.convert_time_zone(self.timezone)

    @abstractmethod
    def reader(self) -> Callable[[datetime | str], tuple[float | None, ...]]:
        """Return a function from an instant, or its text in UTC, to its parts."""

    def row(self, out: RowWriter) -> None:
        """Take the parts of one instant."""
        made = ", ".join(out.variable(name) for name in self.made)
        missing, instant = "None, " * len(self.made), out.variable(self.column)
        out.line(f"{made}, = ({missing}) if {instant} is None else {out.bind(self.reader())}({instant})")
        for name in self.made:
            out.note(name, holds_text=False, never_missing=False)


@dataclass(frozen=True)
class FittedCalendar(PartsOfInstants):
    """Parts of an instant that a calendar and a clock show."""

    step: ClassVar[str] = "calendar"

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Take the parts of a column."""
        return frame.with_columns(
            OF_COLUMN[part](self.local).cast(pl.Float64).alias(name)
            for part, name in zip(self.parts, self.made, strict=True)
        )

    def reader(self) -> Callable[[datetime | str], tuple[float | None, ...]]:
        """Return a function that remembers some: rows of one moment share a few instants."""
        return _parts(self.parts, self.timezone)


def _parts(parts: Sequence[str], timezone: str) -> Callable[[datetime | str], tuple[float, ...]]:
    """Return a function from an instant to its parts; rows of one moment share a few instants, so it remembers.

    It takes an instant's one text in UTC as well: to look that up takes less than to look up what it says first.
    """
    zone = ZoneInfo(timezone)
    readings = [OF_INSTANT[part] for part in parts]

    @lru_cache(REMEMBERED_INSTANTS)
    def read(instant: datetime | str) -> tuple[float, ...]:
        local = (datetime.fromisoformat(instant) if isinstance(instant, str) else instant).astimezone(zone)
        return tuple(float(reading(local)) for reading in readings)

    return read


class CalendarParts(FeatureStep):
    """Parts of an instant in a time zone; weekday counts from Monday = 0, the rest as people count."""

    examples: ClassVar = ({"calendar": "when", "parts": [*OF_INSTANT], "timezone": "America/New_York"},)
    fitted: ClassVar = FittedCalendar
    makes_categories: ClassVar = False

    calendar: str
    parts: Annotated[tuple[CalendarPart, ...], Field(min_length=1)]
    timezone: Zone = "UTC"

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its column, an instant."""
        del held
        return {self.calendar: "instant"}

    def makes(self) -> tuple[str, ...]:
        """Return a column for each part."""
        return tuple(f"{self.calendar}_{part}" for part in self.parts)

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing."""
        del frame, context
        return Learnt((FittedCalendar(self.calendar, tuple(self.parts), self.timezone),))
