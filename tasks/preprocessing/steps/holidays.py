"""Public holidays: whether an instant's day is one, and how far the nearest are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from expectations.fields import Zone
from expectations.parts import FeatureStep, FitContext, Kind, Learnt
from tasks.preprocessing.reading import REMEMBERED_INSTANTS
from tasks.preprocessing.steps.calendar import PartsOfInstants

HolidayPart = Literal["holiday", "days_to_holiday", "days_since_holiday"]
_YEARS_AHEAD = 10
"""Years after the newest row learnt from whose holidays a model knows."""
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class FittedHolidays(PartsOfInstants):
    """Parts of an instant's day beside known holidays; missing before the first of these and after the last.

    Attributes
    ----------
    days : tuple of int
        Days of holidays, from the first known to the last, counted from 1970-01-01; none where the rows are older
        than what is known.
    """

    step: ClassVar[str] = "holidays"

    days: tuple[int, ...]

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Hold the days of a column against the holidays."""
        if not self.days:
            return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in self.made)
        day = frame.select(self.local.dt.date().cast(pl.Int32).cast(pl.Float64).alias("day"))["day"].to_numpy()
        days = np.array(self.days, dtype=np.float64)
        after, before = np.searchsorted(days, day, "left"), np.searchsorted(days, day, "right") - 1
        with np.errstate(invalid="ignore"):
            known = (day >= days[0]) & (day <= days[-1])
        to = days[np.where(known, after, 0)] - day
        since = day - days[np.where(known, before, 0)]
        made = {"holiday": (to == 0).astype(np.float64), "days_to_holiday": to, "days_since_holiday": since}
        return frame.with_columns(
            pl.Series(name, np.where(known, made[part], np.nan), nan_to_null=True)
            for part, name in zip(self.parts, self.made, strict=True)
        )

    def reader(self) -> Callable[[datetime | str], tuple[float | None, ...]]:
        """Return a function that remembers some."""
        return _reader(self.parts, self.timezone, self.days)


def _reader(
    parts: Sequence[str], timezone: str, days: Sequence[int]
) -> Callable[[datetime | str], tuple[float | None, ...]]:
    """Return a function from an instant, or its text in UTC, to its parts; it remembers some."""
    zone, beyond = ZoneInfo(timezone), (None,) * len(parts)

    @lru_cache(REMEMBERED_INSTANTS)
    def read(instant: datetime | str) -> tuple[float | None, ...]:
        local = (datetime.fromisoformat(instant) if isinstance(instant, str) else instant).astimezone(zone)
        day = local.toordinal() - _EPOCH
        if not days or not days[0] <= day <= days[-1]:
            return beyond
        to = float(days[bisect_left(days, day)] - day)
        since = float(day - days[bisect_right(days, day) - 1])
        made = {"holiday": float(to == 0), "days_to_holiday": to, "days_since_holiday": since}
        return tuple(made[part] for part in parts)

    return read


class Holidays(FeatureStep):
    """Whether a day is a public holiday of a country or a part of it, and how many days the nearest ones are away.

    The calendars are those of the package `holidays`, from a year before the first row learnt from to ten years after
    the last; beyond, the features are missing. They are kept with the model, so that no service needs the package.
    """

    examples: ClassVar = (
        {"holidays": "when", "country": "DE", "subdivision": "BY", "timezone": "Europe/Berlin"},
        {"holidays": "when", "country": "US", "parts": ["holiday", "days_to_holiday", "days_since_holiday"]},
    )
    fitted: ClassVar = FittedHolidays
    makes_categories: ClassVar = False

    holidays: str
    country: str
    """ISO 3166-1 alpha-2 code, such as `DE`."""
    subdivision: str = ""
    """Part of the country after ISO 3166-2, such as `BY`."""
    parts: Annotated[tuple[HolidayPart, ...], Field(min_length=1)] = ("holiday",)
    timezone: Zone = "UTC"

    @model_validator(mode="after")
    def _known(self) -> Self:
        import holidays

        countries = holidays.list_supported_countries()
        if self.country not in countries:
            raise ValueError(f"no holidays of the country {self.country!r} are known: an ISO code such as DE, US, JP")
        if not holidays.country_holidays(self.country, years=2024):
            raise ValueError(f"{self.country} keeps no holidays")
        known = countries[self.country]
        if self.subdivision and self.subdivision not in known:
            there = f"there are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{self.country} has no holidays of a part {self.subdivision!r}: {there}")
        return self

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its column, an instant."""
        del held
        return {self.holidays: "instant"}

    def makes(self) -> tuple[str, ...]:
        """Return a column for each part."""
        return tuple(f"{self.holidays}_{part}" for part in self.parts)

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Look the holidays up for the years of the rows, and some ahead."""
        del context
        import holidays

        seen = frame.select(pl.col(self.holidays).dt.year().alias("year"))["year"].drop_nulls().sort()
        years = range(seen[0] - 1, seen[-1] + _YEARS_AHEAD + 1) if len(seen) else range(1970, 2100)
        found = holidays.country_holidays(self.country, subdiv=self.subdivision or None, years=years)
        days = tuple(sorted(day.toordinal() - _EPOCH for day in found))
        return Learnt((FittedHolidays(self.holidays, tuple(self.parts), self.timezone, days),))
