"""Short looks at the platform database, for pages: what is newest, without reading a use case's whole history."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    BindParameter,
    CompoundSelect,
    Connection,
    Row,
    Select,
    String,
    bindparam,
    func,
    literal_column,
    select,
    union_all,
)

from tasks.stores import tables
from tasks.stores.ledger import TRIAL, trials_named
from tasks.stores.stages import OPEN
from tasks.stores.transactions import Transactions

R = TypeVar("R")
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
class LedgerLine:
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


class Stint(NamedTuple):
    """While a bundle answered: after `since`, up to `until` where that is over."""

    bundle: str
    since: datetime
    until: datetime | None


_USECASE: BindParameter[str] = bindparam("usecase")
_LAST: BindParameter[int] = bindparam("last")
_CONTENTS = (
    select(tables.measurements.c.content)
    .where(tables.measurements.c.usecase == _USECASE)
    .order_by(tables.measurements.c.window_start.desc(), tables.measurements.c.id.desc())
    .limit(_LAST)
)
_LINES = select(*_LISTED).where(tables.ledger.c.usecase == _USECASE).order_by(tables.ledger.c.id.desc()).limit(_LAST)
_FILTERS = {
    "kinds": tables.ledger.c.kind.in_(bindparam("kinds", expanding=True)),
    "actions": tables.ledger.c.action.in_(bindparam("actions", expanding=True)),
    "before": tables.ledger.c.id < bindparam("before"),
    "turns": tables.ledger.c.turn.in_(bindparam("turns", expanding=True)),
}
_TURN = (tables.turns.c.usecase, tables.turns.c.id, tables.turns.c.cause, tables.turns.c.state, tables.turns.c.as_of)
"""Statements are made once: a page asks hundreds of times, and making one takes longer than answering it."""


@cache
def _lines(*names: str) -> Select[Any]:
    """Return the statement that asks for entries by some filters."""
    return _LINES.where(*(_FILTERS[name] for name in names))


@cache
def _trials(*over: bool) -> CompoundSelect[Any]:
    """Return the statement that asks for the first trials of stints, which are over or not."""
    ledger, parts = tables.ledger, []
    for place, ended in enumerate(over):
        named: BindParameter[str] = bindparam(f"named{place}", type_=String)
        query = (
            select(literal_column(str(place)).label("stint"), *_LISTED, ledger.c.evidence)
            .where(ledger.c.usecase == _USECASE, ledger.c.kind == TRIAL)
            .where(func.substr(ledger.c.entry, 1, func.length(named)) == named)
            .where(ledger.c.as_of > bindparam(f"since{place}"))
        )
        if ended:
            query = query.where(ledger.c.as_of <= bindparam(f"until{place}"))
        parts.append(select(query.order_by(ledger.c.id).limit(_LAST).subquery()))
    return union_all(*parts)


class Glances(Transactions):
    """Reads by index and by number only; many within one transaction (`reading`)."""

    def newest(self, connection: Connection, usecase: str, last: int, read: Callable[[str], R]) -> list[R]:
        """Return the newest measurements, oldest first, read as far as is shown: `read_glimpse`, `read_measurement`."""
        rows = connection.execute(_CONTENTS, {"usecase": usecase, "last": last})
        return [read(content) for (content,) in rows.all()][::-1]

    def lines(
        self,
        connection: Connection,
        usecase: str,
        last: int,
        *,
        kinds: Collection[str] = (),
        actions: Collection[str] = (),
        turns: Collection[str] = (),
        before: int | None = None,
    ) -> list[LedgerLine]:
        """Return the newest entries of the ledger, newest first, without their evidence.

        Parameters
        ----------
        kinds, actions, turns : collections of str
            Those alone; all where empty.
        before : int, optional
            Those that are older than the entry of this number.
        """
        asked: dict[str, Any] = {"kinds": list(kinds), "actions": list(actions), "turns": list(turns), "before": before}
        given = {name: value for name, value in asked.items() if value not in ([], None)}
        rows = connection.execute(_lines(*given), {"usecase": usecase, "last": last, **given})
        return [LedgerLine(*row) for row in rows.all()]

    def evidence(self, connection: Connection, usecase: str, number: int) -> tuple[LedgerLine, dict[str, Any]] | None:
        """Return one entry of a use case with its evidence."""
        query = select(*_LISTED, tables.ledger.c.evidence)
        row = connection.execute(
            query.where(tables.ledger.c.usecase == usecase, tables.ledger.c.id == number)
        ).one_or_none()
        return None if row is None else _with_evidence([row])[0]

    def evidence_of(
        self, connection: Connection, usecase: str, kind: str, last: int, actions: Collection[str] = ()
    ) -> list[tuple[LedgerLine, dict[str, Any]]]:
        """Return the newest entries of a kind with their evidence, newest first."""
        query = (
            select(*_LISTED, tables.ledger.c.evidence)
            .where(tables.ledger.c.usecase == usecase, tables.ledger.c.kind == kind)
            .order_by(tables.ledger.c.id.desc())
            .limit(last)
        )
        if actions:
            query = query.where(tables.ledger.c.action.in_(actions))
        return _with_evidence(connection.execute(query))

    def around(
        self, connection: Connection, usecase: str, kind: str, number: int, actions: Collection[str]
    ) -> list[tuple[LedgerLine, dict[str, Any]]]:
        """Return the entry after one of a kind, that one, and the one before it, as far as there are any."""
        ledger = tables.ledger
        wanted = (ledger.c.usecase == usecase) & (ledger.c.kind == kind) & ledger.c.action.in_(actions)
        query = select(*_LISTED, ledger.c.evidence).where(wanted)
        later = query.where(ledger.c.id > number).order_by(ledger.c.id).limit(1)
        others = query.where(ledger.c.id <= number).order_by(ledger.c.id.desc()).limit(2)
        rows = [*connection.execute(later), *connection.execute(others)]
        return _with_evidence(rows)

    def trials_of(
        self, connection: Connection, usecase: str, stints: Sequence[Stint], first: int
    ) -> list[list[tuple[LedgerLine, dict[str, Any]]]]:
        """Return of each stint the first trials with their evidence, oldest first, by one statement.

        A trial of the very instant at which a stint ends is of it, not of the next: what was decided by it came after.

        Parameters
        ----------
        stints : sequence of Stint
            Which bundles, each while it answered: one that was rolled back to has several.
        first : int
            Trials of each stint that are wanted at most.
        """
        found: list[list[tuple[LedgerLine, dict[str, Any]]]] = [[] for _ in stints]
        if not stints:
            return found
        asked: dict[str, Any] = {"usecase": usecase, "last": first}
        for place, each in enumerate(stints):
            asked |= {f"named{place}": trials_named(usecase, each.bundle), f"since{place}": each.since}
            asked |= {} if each.until is None else {f"until{place}": each.until}
        rows = connection.execute(_trials(*(each.until is not None for each in stints)), asked)
        for stint, *line, evidence in sorted(rows, key=lambda row: row.id):
            found[stint].append((LedgerLine(*line), json.loads(evidence)))
        return found

    def turns_of(self, connection: Connection, usecase: str | None = None) -> dict[str, Working]:
        """Return of each use case, or of one, the open turn; where none is open, the last by its instant."""
        turns = tables.turns
        newest = select(turns.c.usecase, func.max(turns.c.as_of).label("as_of")).group_by(turns.c.usecase)
        opened = select(*_TURN).where(turns.c.state.in_(OPEN))
        if usecase is not None:
            newest, opened = newest.where(turns.c.usecase == usecase), opened.where(turns.c.usecase == usecase)
        last = newest.subquery()
        query = select(*_TURN).join(last, (turns.c.usecase == last.c.usecase) & (turns.c.as_of == last.c.as_of))
        rows = [*connection.execute(query), *connection.execute(opened)]
        return {row.usecase: Working(row.id, row.cause, row.state, row.as_of) for row in rows}

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


def _with_evidence(rows: Iterable[Row[Any]]) -> list[tuple[LedgerLine, dict[str, Any]]]:
    """Return entries whose last column is their evidence."""
    return [(LedgerLine(*row[:-1]), json.loads(row.evidence)) for row in rows]
