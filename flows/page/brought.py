"""What collections brought, one by one and by day, and what did not go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy import Connection

from expectations.usecase import UseCase
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
class Fresh:
    """How fresh a source is.

    Attributes
    ----------
    newest : datetime or None
        Its newest event time that was collected; None where it is unknown.
    every : str
        How old that may be; empty where nothing is declared.
    stale : bool
        Whether it was older than that when it was collected last.
    """

    source: str
    newest: datetime | None
    every: str = ""
    stale: bool = False


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
    fresh : tuple of Fresh
        How fresh each source is, in the order in which they are declared.
    """

    arrivals: tuple[Arrival, ...] = ()
    days: tuple[Day, ...] = ()
    sources: tuple[str, ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    held: tuple[str, ...] = ()
    fresh: tuple[Fresh, ...] = ()


def read_data(
    database: Database, connection: Connection, name: str, held: tuple[str, ...], spec: UseCase | None = None
) -> Data:
    """Read what the newest collections of a use case brought; without its YAML nothing is said of how fresh that is."""
    found = database.newest_collections(connection, name, _READ)
    return replace(data_of(found, held), fresh=fresh_of(found, spec) if spec is not None else ())


def fresh_of(found: Sequence[tuple[datetime, Brought]], spec: UseCase) -> tuple[Fresh, ...]:
    """Return how fresh each source is: a collection may read of it what changed alone, and so the newest of all counts.

    Empty where no collection said so.
    """
    newest: dict[str, datetime] = {}
    for _, each in found:
        for source, moment in each.newest.items():
            newest[source] = max(moment, newest.get(source, moment))
    if not newest:
        return ()
    as_of, fresh = found[-1][0], []
    for name, declared in spec.sources.items():
        every, seen = declared.expect_every, newest.get(name)
        fresh.append(Fresh(name, seen, str(every) if every is not None else "", declared.is_stale(seen, as_of)))
    return tuple(fresh)


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
