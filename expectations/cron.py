"""Cron lines as schedules have them: five fields, and a date they name must exist."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: name, least, most, and the words that stand for numbers from the least on
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(\*)|(\w{1,3})(?:-(\w{1,3}))?)(?:/(\d{1,2}))?", re.ASCII)
MAX_CHARACTERS = 200
_RAREST = 8 * 366
"""Days between two of a line's at most: from one 29 February to the next, where a century is none of a leap year."""


class _Line(NamedTuple):
    """The moments a cron line names, field by field; Sunday is 0."""

    minutes: set[int]
    hours: set[int]
    days: set[int]
    months: set[int]
    weekdays: set[int]
    either: bool
    """Whether a day is named by its number or by its weekday: where both are restricted."""

    def names(self, day: date) -> bool:
        """Whether there is a moment on a day."""
        number, weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (number or weekday if self.either else number and weekday)


def check_cron(line: str) -> None:
    """Check a cron line: minute, hour, day of the month, month, day of the week.

    Raises
    ------
    ValueError
        If it is none, names a day that no month has (a scheduler would look for it for ever), or is written in a way
        that Prefect reads otherwise than it is meant: a range of one value, or one over the end with a step.

    Examples
    --------
    >>> check_cron("30 3 * * mon-fri")
    >>> check_cron("0 0 31 feb *")
    Traceback (most recent call last):
        ...
    ValueError: '0 0 31 feb *' names a day that no month has
    """
    _read(line)


def last_due(line: str, until: datetime) -> datetime:
    """Return the newest moment a cron line names in UTC, at an instant or before it.

    Raises
    ------
    ValueError
        If it is no cron line that `check_cron` takes: another kind may have been set in Prefect.

    Examples
    --------
    >>> last_due("30 3 * * *", datetime(2026, 3, 1, 3, 30, tzinfo=UTC)).isoformat()
    '2026-03-01T03:30:00+00:00'
    >>> last_due("30 3 * * *", datetime(2026, 3, 1, 3, 29, 59, tzinfo=UTC)).isoformat()
    '2026-02-28T03:30:00+00:00'
    """
    named, until = _read(line), until.astimezone(UTC)
    for back in range(_RAREST + 1):
        day = until.date() - timedelta(days=back)
        if not named.names(day):
            continue
        latest = (23, 59) if back else (until.hour, until.minute)
        moments = [(hour, minute) for hour in named.hours for minute in named.minutes if (hour, minute) <= latest]
        if moments:
            return datetime.combine(day, time(*max(moments)), UTC)
    raise ValueError(f"{line!r} names no day")


def _read(line: str) -> _Line:
    fields = line.split()
    if len(line) > MAX_CHARACTERS or len(fields) != len(_FIELDS):
        raise ValueError(f"{line[:MAX_CHARACTERS]!r} is no cron line; write five fields, for example 0 3 * * *")
    minutes, hours, days, months, weekdays = (
        _values(text, line, *field) for text, field in zip(fields, _FIELDS, strict=True)
    )
    if min(days) > max(_DAYS_OF_MONTH[month - 1] for month in months):
        raise ValueError(f"{line!r} names a day that no month has")
    weekdays = {day % 7 for day in weekdays}
    either = not (_any(fields[2], days, 31, fields[4]) or _any(fields[4], weekdays, 7, fields[2]))
    return _Line(minutes, hours, days, months, weekdays, either)


def _any(text: str, values: set[int], number: int, other: str) -> bool:
    """Whether a field restricts no day, as Prefect's parser has it: all values by name do only beside a star."""
    return "*" in text.split(",") or (len(values) == number and "*" in other)


def _values(text: str, line: str, name: str, least: int, most: int, words: tuple[str, ...]) -> set[int]:
    def number(word: str) -> int:
        lower = word.lower()
        value = words.index(lower) + least if lower in words else int(word) if word.isdecimal() else -1
        if not least <= value <= most:
            raise ValueError(f"{word!r} is no {name} of a cron line ({least} to {most}): {line!r}")
        return value

    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no {name} of a cron line: {line!r}")
        every, first, last, step = match.groups()
        low, high = (least, most) if every else (number(first), number(last or first))
        if step is not None and int(step) == 0:
            raise ValueError(f"{part!r} has a step of zero in a cron line: {line!r}")
        if step and not every and not last:  # as in 5/10
            high = 6 if words is _DAYS else most
        if high < low:  # as in sat-sun, or 22-2
            if step:
                raise ValueError(f"{part!r} goes over the end in steps; name each {name}: {line!r}")
            high += most - least + 1
        values = {least + (value - least) % (most - least + 1) for value in range(low, high + 1, int(step or 1))}
        if len({value % 7 for value in values} if words is _DAYS else values) == 1 and (last or (step and not every)):
            raise ValueError(f"{part!r} names one {name}; write {first} alone: {line!r}")
        found.update(values)
    return found
