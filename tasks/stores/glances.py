"""Short looks at the platform database, for pages: what is newest, without reading a use case's whole history."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, select

from tasks.stores import tables
from tasks.stores.transactions import Transactions
from tasks.stores.turns import OPEN

_LISTED = (
    tables.ledger.c.id,
    tables.ledger.c.entry,
    tables.ledger.c.as_of,
    tables.ledger.c.recorded_at,
    tables.ledger.c.kind,
    tables.ledger.c.action,
    tables.ledger.c.cause,
    tables.ledger.c.summary,
    tables.ledger.c.turn,
)
"""All of a ledger entry but its evidence, which is what is large."""


@dataclass(frozen=True)
class Line:
    """An entry of the ledger as a list shows it; `number` finds it again."""

    number: int
    entry: str
    as_of: datetime
    recorded_at: datetime
    kind: str
    action: str
    cause: str
    summary: str
    turn: str | None


@dataclass(frozen=True)
class Working:
    """A turn that is open, or how the last one ended."""

    id: str
    cause: str
    state: str
    as_of: datetime

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.state in OPEN


class Glances(Transactions):
    """Reads by index and by number only; many within one transaction (`reading`)."""

    def newest_contents(self, connection: Connection, usecase: str, last: int) -> list[str]:
        """Return the newest measurements as they are kept (JSON), oldest first: a reader decodes what it shows."""
        query = (
            select(tables.measurements.c.content)
            .where(tables.measurements.c.usecase == usecase)
            .order_by(tables.measurements.c.window_start.desc(), tables.measurements.c.id.desc())
            .limit(last)
        )
        return [row.content for row in reversed(connection.execute(query).all())]

    def lines(
        self,
        connection: Connection,
        usecase: str,
        last: int,
        *,
        kinds: Collection[str] = (),
        actions: Collection[str] = (),
        before: int | None = None,
    ) -> list[Line]:
        """Return the newest entries of the ledger, newest first, without their evidence.

        Parameters
        ----------
        kinds, actions : collections of str
            Those alone; all where empty.
        before : int, optional
            Those that are older than the entry of this number.
        """
        query = select(*_LISTED).where(tables.ledger.c.usecase == usecase)
        if kinds:
            query = query.where(tables.ledger.c.kind.in_(kinds))
        if actions:
            query = query.where(tables.ledger.c.action.in_(actions))
        if before is not None:
            query = query.where(tables.ledger.c.id < before)
        return [_line(row) for row in connection.execute(query.order_by(tables.ledger.c.id.desc()).limit(last))]

    def evidence(self, connection: Connection, usecase: str, number: int) -> tuple[Line, dict[str, Any]] | None:
        """Return one entry of a use case with its evidence."""
        return self._whole(
            connection,
            select(tables.ledger).where(tables.ledger.c.usecase == usecase, tables.ledger.c.id == number),
        )

    def entry(self, connection: Connection, usecase: str, entry: str) -> tuple[Line, dict[str, Any]] | None:
        """Return the entry of this name with its evidence."""
        return self._whole(
            connection,
            select(tables.ledger).where(tables.ledger.c.usecase == usecase, tables.ledger.c.entry == entry),
        )

    @staticmethod
    def _whole(connection: Connection, query: Select[Any]) -> tuple[Line, dict[str, Any]] | None:
        row = connection.execute(query).one_or_none()
        return None if row is None else (_line(row), json.loads(row.evidence))

    def turn_of(self, connection: Connection, usecase: str) -> Working | None:
        """Return the open turn; where none is open, the last by its instant."""
        columns = (tables.turns.c.id, tables.turns.c.cause, tables.turns.c.state, tables.turns.c.as_of)
        query = select(*columns).where(tables.turns.c.usecase == usecase)
        row = connection.execute(query.where(tables.turns.c.state.in_(OPEN))).one_or_none()
        if row is None:
            row = connection.execute(query.order_by(tables.turns.c.as_of.desc()).limit(1)).one_or_none()
        return None if row is None else Working(row.id, row.cause, row.state, row.as_of)

    def at_work(self, connection: Connection, now: datetime, heard: timedelta) -> dict[str, int]:
        """Return how many flow runs of each use case were heard of lately."""
        query = select(tables.presences.c.usecase).where(tables.presences.c.seen > now - heard)
        found: dict[str, int] = {}
        for row in connection.execute(query):
            found[row.usecase] = found.get(row.usecase, 0) + 1
        return found

    def marks(self, connection: Connection, name: str) -> dict[str, str]:
        """Return a mark of every use case that has it."""
        query = select(tables.marks.c.usecase, tables.marks.c.value).where(tables.marks.c.name == name)
        return {row.usecase: row.value for row in connection.execute(query)}


def _line(row: Any) -> Line:  # noqa: ANN401 - SQLAlchemy's row
    return Line(row.id, row.entry, row.as_of, row.recorded_at, row.kind, row.action, row.cause, row.summary, row.turn)
