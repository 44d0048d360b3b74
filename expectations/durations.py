"""Spans of time as people write them in a use case: ``15m``, ``1d``, ``2w``, ``1mo``, ``1y``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_PATTERN = re.compile(r"^\s*(\d+)\s*(mo|s|m|h|d|w|q|y)\s*$")
_DAYS_IN_MONTH = 30.4375
MAX_YEARS = 100
_MAX_CHARACTERS = 40


@dataclass(frozen=True, order=False)
class Duration:
    """A span of `months` calendar months and `seconds` seconds; one of the two is zero."""

    text: str
    months: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read a span.

        Raises
        ------
        ValueError
            If `text` is not a whole number followed by one of s, m, h, d, w, mo, q, y, or longer than 100 years: there
            is no calendar that far.
        """
        match = _PATTERN.match(text) if len(text) <= _MAX_CHARACTERS else None
        if match is None:
            shown = text[:_MAX_CHARACTERS]
            raise ValueError(f"a duration is a whole number and a unit (s, m, h, d, w, mo, q, y), not {shown!r}")
        number, unit = int(match[1]), match[2]
        found = cls(text, number * _MONTHS[unit], 0) if unit in _MONTHS else cls(text, 0, number * _UNITS[unit])
        if found.approximate_seconds > MAX_YEARS * 366 * 86400:
            raise ValueError(f"a duration is at most {MAX_YEARS} years, not {text}")
        return found

    @property
    def approximate_seconds(self) -> float:
        """Length in seconds, a month taken as a twelfth of 365.25 days; for comparing spans and ages."""
        return self.months * _DAYS_IN_MONTH * 86400 + self.seconds

    def after(self, instant: datetime, times: int = 1) -> datetime:
        """Return the instant `times` spans later (earlier if negative); months keep the day where they can."""
        if not self.months:
            return instant + timedelta(seconds=self.seconds * times)
        year, month = divmod(instant.year * 12 + instant.month - 1 + self.months * times, 12)
        first = instant.replace(year=year, month=month + 1, day=1)
        next_first = first.replace(year=year + (month + 1) // 12, month=(month + 1) % 12 + 1)
        return first.replace(day=min(instant.day, (next_first - first).days))

    def floor(self, instant: datetime) -> datetime:
        """Return the latest window start at or before `instant`.

        Months count from January of year 1, other spans from Monday 0001-01-01, so windows do not depend on
        when monitoring was switched on.
        """
        if self.months:
            index = (instant.year * 12 + instant.month - 1) // self.months * self.months
            return instant.replace(
                year=index // 12, month=index % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0
            )
        origin = datetime(1, 1, 1, tzinfo=instant.tzinfo)
        return instant - (instant - origin) % timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        return self.text


def spoken(seconds: float) -> str:
    """Say how long something takes or lasts, as a person would.

    Examples
    --------
    >>> [spoken(each) for each in (5, 5400, 7300, 47 * 3600, 3.3 * 86400, 95 * 86400, 800 * 86400)]
    ['5 s', '90 min', '2 h 2 min', '47 h', '3 days', '3 months', '2 years']
    """
    whole, minutes = round(seconds), round(seconds / 60)
    if whole < 120:
        return f"{whole} s"
    if minutes < 120:
        return f"{minutes} min"
    hours, days = minutes // 60, seconds / 86400
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if hours < 10 and minutes % 60 else f"{hours} h"
    for unit, size in (("years", 365.25), ("months", _DAYS_IN_MONTH)):
        if days >= 2 * size:
            return f"{int(days / size)} {unit}"
    return f"{hours // 24} days"
