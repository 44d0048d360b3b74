"""What the service did for each use case, and whether it answered its health check: minute by minute, for two weeks.

The service itself keeps no history. Whoever looks (`flows.service_watch`) hands over what its replicas counted since
they began; what is kept is what each minute added, so that minutes may be summed up whoever looked, and whatever was
started again meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from tasks.stores import tables
from tasks.stores.journal import CLOCK_MARGIN
from tasks.stores.marks import Marks

KEPT = timedelta(days=14)
_LAST_COUNTS = "service counts"
"""Mark, of no use case: what each replica had counted when it was looked at last."""
_YOUNG = timedelta(minutes=2)
"""A replica that began so shortly before the first look at it did all it counted in that minute."""
_ABSENT = timedelta(days=1)
"""How long what a replica had counted is kept that is not there: it may be that it alone was not reached."""
_MINUTE = timedelta(minutes=1)
GAP = timedelta(minutes=3)
"""How long it may be unchecked within an outage: of a longer while nothing is known, and it may have been up."""


class Counted(msgspec.Struct, frozen=True):
    """What was done for a use case: over a minute, or since a replica began.

    Attributes
    ----------
    errors : dict of str to int
        Requests refused or failed, by cause.
    seconds : list of int
        Requests by how long they took: one number for each bound of the service's histogram, and one beyond the last.
    behind : int
        Values of earlier rows that rows not collected yet may change.
    """

    requests: int = 0
    rows: int = 0
    errors: dict[str, int] = {}
    seconds: list[int] = []
    behind: int = 0

    def __add__(self, other: Counted) -> Counted:
        """Return what was done in both."""
        return self._with(other, 1)

    def __sub__(self, other: Counted) -> Counted:
        """Return what was done beyond another."""
        return self._with(other, -1)

    def _with(self, other: Counted, sign: int) -> Counted:
        kinds = sorted({*self.errors, *other.errors})
        errors = {kind: self.errors.get(kind, 0) + sign * other.errors.get(kind, 0) for kind in kinds}
        width = max(len(self.seconds), len(other.seconds))
        one, two = (each.seconds + [0] * (width - len(each.seconds)) for each in (self, other))
        return Counted(
            self.requests + sign * other.requests,
            self.rows + sign * other.rows,
            {kind: count for kind, count in errors.items() if count},
            [before + sign * more for before, more in zip(one, two, strict=True)],
            self.behind + sign * other.behind,
        )

    @property
    def failed(self) -> int:
        """Requests refused or failed."""
        return sum(self.errors.values())


class Replica(msgspec.Struct, frozen=True):
    """What one process of the service says of itself: its own name, when it began, and what it counted since.

    Attributes
    ----------
    seen : datetime, optional
        Of one that is kept: the minute in which it said so.
    """

    instance: str
    started: float
    usecases: dict[str, Counted]
    seen: datetime | None = None


@dataclass(frozen=True)
class Probe:
    """A health check: `why` it was not passed, empty where it was; how long the answer took, where one came."""

    minute: datetime
    why: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Outage:
    """Health checks in a row that were not passed."""

    first: datetime
    last: datetime
    why: str

    @property
    def minutes(self) -> int:
        """How many there were, one a minute."""
        return int((self.last - self.first) / _MINUTE) + 1


def outages(probes: Iterable[Probe]) -> list[Outage]:
    """Put health checks that were not passed together, oldest first; those of more than `GAP` apart stay apart."""
    found: list[Outage] = []
    before: Probe | None = None
    for probe in probes:
        if probe.why and before is not None and before.why and probe.minute - before.minute <= GAP:
            found[-1] = Outage(found[-1].first, probe.minute, probe.why)
        elif probe.why:
            found.append(Outage(probe.minute, probe.minute, probe.why))
        before = probe
    return found


_encode = msgspec.json.encode
_read_minute = msgspec.json.Decoder(Counted).decode
_read_last = msgspec.json.Decoder(dict[str, Replica]).decode


def grown(replicas: Iterable[Replica], last: Mapping[str, Replica], minute: datetime) -> dict[str, Counted]:
    """Return what was done for each use case since the last look.

    Parameters
    ----------
    last : mapping of str to Replica
        By instance. Of one that is not among them, and began long before, nothing is known but where it stands now.
    """
    found: dict[str, Counted] = {}
    for replica in replicas:
        before = last.get(replica.instance)
        if before is None and replica.started < (minute - _YOUNG).timestamp():
            continue
        for name, now in replica.usecases.items():
            more = now - (before.usecases.get(name, Counted()) if before else Counted())
            if more.requests or more.errors or more.behind:
                found[name] = found.get(name, Counted()) + more
    return found


class ServiceHistory(Marks):
    """Keeps and returns minutes of the service."""

    def is_probed(self, minute: datetime) -> bool:
        """Whether it was checked in that minute."""
        with self.reading() as connection:
            return _probed(connection, minute)

    def note(self, probe: Probe, replicas: Sequence[Replica]) -> bool:
        """Keep a look; False, and nothing is kept, where another process looked in that minute."""
        with self.transaction() as connection:
            if _probed(connection, probe.minute):
                return False
            self._forget_ahead(connection, probe.minute + CLOCK_MARGIN)
            connection.execute(insert(tables.probes).values(vars(probe)))
            if replicas:
                self._count(connection, probe.minute, replicas)
            if probe.minute.minute == 0:
                for table in (tables.probes, tables.traffic):
                    connection.execute(delete(table).where(table.c.minute < probe.minute - KEPT))
            return True

    def _forget_ahead(self, connection: Connection, limit: datetime) -> None:
        """Delete what a clock that was ahead wrote: it would stand as the newest until then."""
        if connection.execute(delete(tables.probes).where(tables.probes.c.minute > limit)).rowcount:
            connection.execute(delete(tables.traffic).where(tables.traffic.c.minute > limit))

    def _count(self, connection: Connection, minute: datetime, replicas: Sequence[Replica]) -> None:
        """Book what replicas did since each was seen last, to the minute after that: when in a gap it was is not known.

        One that is absent keeps what it had counted, for when it is there again.
        """
        known = self.marked_in(connection, "", _LAST_COUNTS)
        last = _read_last(known) if known else {}
        for each in replicas:
            before = last.get(each.instance)
            at = min(minute, before.seen + _MINUTE) if before and before.seen else minute
            for name, more in grown([each], last, minute).items():
                _book(connection, name, at, more)
        kept = {name: each for name, each in last.items() if each.seen is not None and each.seen >= minute - _ABSENT}
        kept |= {each.instance: msgspec.structs.replace(each, seen=minute) for each in replicas}
        self.put_mark(connection, "", _LAST_COUNTS, _encode(kept).decode())

    def probes(self, since: datetime) -> list[Probe]:
        """Return the health checks of the minutes from one on, oldest first."""
        table = tables.probes
        query = select(table.c.minute, table.c.why, table.c.seconds).where(table.c.minute >= since)
        with self.reading() as connection:
            return [Probe(*row) for row in connection.execute(query.order_by(table.c.minute)).all()]

    def newest_outage(self, minute: datetime, known: Outage | None = None) -> Outage | None:
        """Return the outage that goes on at a minute; None where it was not checked then, or passed.

        Parameters
        ----------
        known : Outage, optional
            As an earlier look returned it: where it still goes on, nothing from before its end is read again, and it
            may have begun before all that is kept.
        """
        table, since = tables.probes, min(known.last, minute) if known else None
        query = select(table.c.minute).where(table.c.why == "", table.c.minute <= minute)
        with self.reading() as connection:
            passed = connection.execute(query.order_by(table.c.minute.desc()).limit(1)).scalar_one_or_none()
        bounds = [each for each in (since, passed) if each is not None]
        probes = self.probes(max(bounds, default=minute - KEPT))
        found = outages(each for each in probes if each.minute <= minute)
        if not found or found[-1].last != minute:
            return None
        goes_on = known is not None and since is not None and found[-1].first <= since
        return replace(found[-1], first=known.first) if known and goes_on else found[-1]

    def minutes(self, usecase: str, since: datetime, until: datetime | None = None) -> list[tuple[datetime, Counted]]:
        """Return the minutes from one on, and before another, in which something was asked about a use case.

        They are in order, oldest first.
        """
        table = tables.traffic
        query = select(table.c.minute, table.c.content).where(table.c.usecase == usecase, table.c.minute >= since)
        if until is not None:
            query = query.where(table.c.minute < until)
        with self.reading() as connection:
            return [
                (minute, _read_minute(content))
                for minute, content in connection.execute(query.order_by(table.c.minute)).all()
            ]


def _book(connection: Connection, usecase: str, minute: datetime, more: Counted) -> None:
    table = tables.traffic
    where = (table.c.usecase == usecase) & (table.c.minute == minute)
    known = connection.execute(select(table.c.content).where(where)).scalar_one_or_none()
    if known is None:
        values = {"usecase": usecase, "minute": minute, "content": _encode(more).decode()}
        connection.execute(insert(table).values(values))
    else:
        content = _encode(_read_minute(known) + more).decode()
        connection.execute(update(table).where(where).values(content=content))


def _probed(connection: Connection, minute: datetime) -> bool:
    found: Any = connection.execute(select(tables.probes.c.minute).where(tables.probes.c.minute == minute)).first()
    return found is not None


def total(minutes: Iterable[Counted]) -> Counted:
    """Sum minutes up: a page sums up a day of them."""
    found = list(minutes)
    width = max((len(each.seconds) for each in found), default=0)
    columns = zip(*(each.seconds + [0] * (width - len(each.seconds)) for each in found), strict=True)
    errors: dict[str, int] = {}
    for each in found:
        for kind, count in each.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    return Counted(
        sum(each.requests for each in found),
        sum(each.rows for each in found),
        errors,
        [sum(each) for each in columns],
        sum(each.behind for each in found),
    )
