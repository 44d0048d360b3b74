"""The ledger: each decision once, with its evidence; and what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from expectations.windows import Window
from tasks.stores import tables
from tasks.stores.measurements import Measurement, read_measurement
from tasks.stores.plain import to_json
from tasks.stores.transactions import Transactions

TRIAL = "trial"
"""Kind of the entries that say what a trial found; decisions mention it too."""
INTERVALS = "interval"
"""Kind of the entries that say which intervals the champion got since it was released: its model is the same."""
FORGET, RETENTION = "forget", "retention"
"""Kinds of the entries that say what was erased: a person, and what was kept for long enough."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `entry` names it: writing the same one again changes nothing."""

    entry: str
    usecase: str
    as_of: datetime
    kind: str
    action: str
    cause: str
    summary: str
    evidence: dict[str, Any]
    turn: str | None = None
    recorded_at: datetime | None = None


def trials_named(usecase: str, bundle: str) -> str:
    """Return what the names of a bundle's trials begin with; the end of the window follows."""
    return f"{usecase}/{TRIAL}/{bundle[:12]}/"


def champions(entries: Iterable[Entry]) -> list[Entry]:
    """Return the promotions that stand, the present champion's last: each bundle once, where it was promoted last.

    A rollback takes away those above the one it goes back to.
    """
    stood: list[Entry] = []
    for entry in entries:
        bundles = [each.evidence["bundle"] for each in stood]
        if entry.action == "promoted":
            stood = [each for each in stood if each.evidence["bundle"] != entry.evidence["bundle"]] + [entry]
        elif entry.action == "rolled back" and entry.evidence["bundle"] in bundles:
            del stood[bundles.index(entry.evidence["bundle"]) + 1 :]
    return stood


def _measured(
    usecase: str, since: datetime | None, champion: str | None, *, known: bool
) -> Iterator[ColumnElement[bool]]:
    table = tables.measurements
    yield table.c.usecase == usecase
    if since is not None:
        yield table.c.window_end > since
    if champion is not None:
        yield table.c.champion == champion
    if known:
        yield table.c.status != "unknown"


class Ledger(Transactions):
    """What was decided and measured."""

    def put_measurement(self, usecase: str, measured: Measurement) -> None:
        """Keep what was measured over a window; measuring it again (labels ripened) replaces it."""
        where = (
            (tables.measurements.c.usecase == usecase)
            & (tables.measurements.c.window_start == measured.start)
            & (tables.measurements.c.window_end == measured.end)
        )
        with self.transaction() as connection:
            content = json.dumps(measured.to_dict(), ensure_ascii=False, allow_nan=False)
            values = {"content": content, "champion": measured.champion, "status": measured.status}
            if not connection.execute(update(tables.measurements).where(where).values(values)).rowcount:
                connection.execute(
                    insert(tables.measurements).values(
                        usecase=usecase, window_start=measured.start, window_end=measured.end, **values
                    )
                )

    def measurements(
        self,
        usecase: str,
        *,
        since: datetime | None = None,
        champion: str | None = None,
        known: bool = False,
        last: int | None = None,
    ) -> list[Measurement]:
        """Return what was measured, by window, oldest first.

        Parameters
        ----------
        since : datetime, optional
            Windows alone that end after it.
        champion : str, optional
            Those alone that a bundle answered most of.
        known : bool
            Those alone whose performance is known.
        last : int, optional
            So many at most, the newest.
        """
        table = tables.measurements
        query = select(table.c.content).where(*_measured(usecase, since, champion, known=known))
        query = query.order_by(table.c.window_start.desc(), table.c.id.desc()).limit(last)
        with self.reading() as connection:
            return [read_measurement(content) for (content,) in connection.execute(query)][::-1]

    def count_measurements(
        self, usecase: str, *, since: datetime | None = None, champion: str | None = None, known: bool = False
    ) -> int:
        """Count what `measurements` would return."""
        query = select(func.count()).select_from(tables.measurements)
        with self.reading() as connection:
            return int(connection.execute(query.where(*_measured(usecase, since, champion, known=known))).scalar_one())

    def measured_windows(
        self,
        usecase: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        last: int | None = None,
    ) -> list[Window]:
        """Return which windows were measured, the newest first: that begin in [since, until), and so many at most."""
        table = tables.measurements
        query = select(table.c.window_start, table.c.window_end).where(table.c.usecase == usecase)
        if since is not None:
            query = query.where(table.c.window_start >= since)
        if until is not None:
            query = query.where(table.c.window_start < until)
        with self.reading() as connection:
            return [Window(*row) for row in connection.execute(query.order_by(table.c.window_start.desc()).limit(last))]

    def stands(self, connection: Connection, entry: str) -> bool:
        """Whether the ledger has an entry of this name."""
        return connection.execute(select(tables.ledger.c.id).where(tables.ledger.c.entry == entry)).first() is not None

    def write(self, connection: Connection, entry: Entry) -> bool:
        """Append to the ledger inside a transaction; False where this entry stands already."""
        if self.stands(connection, entry.entry):
            return False
        connection.execute(
            insert(tables.ledger).values(
                entry=entry.entry,
                usecase=entry.usecase,
                turn=entry.turn,
                as_of=entry.as_of,
                recorded_at=datetime.now(UTC),
                kind=entry.kind,
                action=entry.action,
                cause=entry.cause,
                summary=entry.summary,
                evidence=to_json(entry.evidence),
            )
        )
        return True

    def entry(self, name: str) -> Entry | None:
        """Read one entry of the ledger by its name; None where there is none."""
        query = select(tables.ledger).where(tables.ledger.c.entry == name)
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _entry(row)

    def entries(
        self,
        usecase: str,
        *,
        last: int | None = None,
        kind: str | None = None,
        trials: bool = True,
        after: str | None = None,
    ) -> list[Entry]:
        """Read the ledger, oldest first; the newest `last` where given, those written after the entry `after`."""
        query = select(tables.ledger).where(tables.ledger.c.usecase == usecase).order_by(tables.ledger.c.id.desc())
        if kind is not None:
            query = query.where(tables.ledger.c.kind == kind)
        if not trials:
            query = query.where(tables.ledger.c.kind != TRIAL)
        if after is not None:
            written = select(tables.ledger.c.id).where(tables.ledger.c.entry == after)
            query = query.where(tables.ledger.c.id > written.scalar_subquery())
        if last is not None:
            query = query.limit(last)
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return [_entry(row) for row in reversed(rows)]


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        entry=row.entry,
        usecase=row.usecase,
        as_of=row.as_of,
        kind=row.kind,
        action=row.action,
        cause=row.cause,
        summary=row.summary,
        evidence=json.loads(row.evidence),
        turn=row.turn,
        recorded_at=row.recorded_at,
    )
