"""What collections brought, one by one and by day, and what did not go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection

from tasks.stores.collection_history import Brought
from tasks.stores.database import Database

_DRAWN = 60
"""Collections that are drawn."""
_READ, _DAYS = 600, 30
"""Collections that are read, and days of them that are listed."""


@dataclass(frozen=True)
class Arrival:
    """What one collection brought."""

    at: datetime
    new: int
    corrected: int
    quarantined: int


@dataclass(frozen=True)
class Day:
    """What the collections of a day brought.

    Attributes
    ----------
    read : mapping of str to int
        By source, the most rows that one of them read: each reads anew what it looks for corrections in.
    quarantined : mapping of str to int
        Rows that went to quarantine, by the expectation they broke.
    held : tuple of str
        What held a batch as a whole.
    """

    day: date
    collections: int
    read: Mapping[str, int]
    new: int
    corrected: int
    quarantined: Mapping[str, int]
    held: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    """What came in, and what did not go on.

    Attributes
    ----------
    days : tuple of Day
        Newest first.
    sources : tuple of str
        All that were read on these days.
    held : tuple of str
        What the newest rows broke, where they are held.
    """

    arrivals: tuple[Arrival, ...] = ()
    days: tuple[Day, ...] = ()
    sources: tuple[str, ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    held: tuple[str, ...] = ()


def read_data(database: Database, connection: Connection, name: str, held: tuple[str, ...]) -> Data:
    """Read what the newest collections of a use case brought."""
    return data_of(database.newest_collections(connection, name, _READ), held)


def data_of(found: Sequence[tuple[datetime, Brought]], held: tuple[str, ...]) -> Data:
    """Put together what collections brought, oldest first."""
    drawn = [(at, each) for at, each in found if each.new or each.corrected or each.quarantined or each.held][-_DRAWN:]
    reasons = _sum(each.quarantined for _, each in drawn)
    by_day: dict[date, list[Brought]] = {}
    for at, each in found:
        by_day.setdefault(at.date(), []).append(each)
    if len(found) >= _READ and len(by_day) > 1:
        del by_day[min(by_day)]  # older collections of that day were not read
    days = [_day(day, by_day[day]) for day in sorted(by_day, reverse=True)[:_DAYS]]
    return Data(
        tuple(Arrival(at, each.new, each.corrected, sum(each.quarantined.values())) for at, each in drawn),
        tuple(days),
        tuple(dict.fromkeys(source for day in days for source in day.read)),
        tuple(sorted(reasons.items(), key=lambda each: -each[1])),
        held,
    )


def _day(day: date, found: Sequence[Brought]) -> Day:
    read: dict[str, int] = {}
    for each in found:
        for source, rows in each.read.items():
            read[source] = max(rows, read.get(source, 0))
    return Day(
        day,
        len(found),
        read,
        sum(each.new for each in found),
        sum(each.corrected for each in found),
        _sum(each.quarantined for each in found),
        tuple(dict.fromkeys(why for each in found for why in each.held)),
    )


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts:
        for reason, rows in part.items():
            found[reason] = found.get(reason, 0) + rows
    return found
