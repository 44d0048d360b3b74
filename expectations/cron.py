"""Cron lines as schedules have them: five fields, and a date they name must exist."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

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


def check_cron(line: str) -> None:
    """Check a cron line: minute, hour, day of the month, month, day of the week.

    Raises
    ------
    ValueError
        If it is none, or names a day that no month has: a scheduler would look for it for ever.

    Examples
    --------
    >>> check_cron("30 3 * * mon-fri")
    >>> check_cron("0 0 31 feb *")
    Traceback (most recent call last):
        ...
    ValueError: '0 0 31 feb *' names a day that no month has
    """
    fields = line.split()
    if len(line) > MAX_CHARACTERS or len(fields) != len(_FIELDS):
        raise ValueError(f"{line[:MAX_CHARACTERS]!r} is no cron line; write five fields, for example 0 3 * * *")
    _, _, days, months, _ = (_values(text, line, *field) for text, field in zip(fields, _FIELDS, strict=True))
    if min(days) > max(_DAYS_OF_MONTH[month - 1] for month in months):
        raise ValueError(f"{line!r} names a day that no month has")


def last_due(line: str, until: datetime) -> datetime:
    """Return the newest moment a cron line names, up to an instant of UTC.

    Raises
    ------
    ValueError
        If it is no cron line that can be read: somebody may set another kind in Prefect.

    Examples
    --------
    >>> last_due("30 3 * * *", datetime(2026, 3, 1, tzinfo=UTC)).isoformat()
    '2026-02-28T03:30:00+00:00'
    """
    from cronsim import CronSim, CronSimError  # Prefect's own: both name the same moments

    try:
        return next(CronSim(line, until.astimezone(UTC) + timedelta(minutes=1), reverse=True))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{line[:MAX_CHARACTERS]!r} cannot be read as a cron line: {error}") from error


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
        low = least if every else number(first)
        high = most if every or (step and not last) else number(last or first)
        if step is not None and int(step) == 0:
            raise ValueError(f"{part!r} has a step of zero in a cron line: {line!r}")
        if high < low:  # as in sat-sun, or 22-2
            high += most - least + 1
        found.update(least + (value - least) % (most - least + 1) for value in range(low, high + 1, int(step or 1)))
    return found
