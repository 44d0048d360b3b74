"""What is wrong, one record each: opened when it is first found, refreshed while it lasts, resolved when it is gone.

The ledger says what happened and never changes; a finding is a state. Its key names the condition ("silent", "held"),
so looking again refreshes the open record instead of making another. Messages to people are made from these records
(`tasks.stores.messages`): nothing has to be queued, and nothing can be lost between the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from expectations.alerts import SEVERITIES, Severity, worse
from expectations.masking import mask
from tasks.stores import tables
from tasks.stores.plain import to_json
from tasks.stores.transactions import Transactions

SETTLING = timedelta(minutes=15)
"""How long a condition that often clears by itself may last before a message is sent."""
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Found:
    """What a look found to be wrong now.

    Attributes
    ----------
    key : str
        Names the condition within its use case; small letters, digits, ``.``, ``_`` and ``-``, as it is part of the
        page's address.
    kind : str
        What sort of condition it is; several keys may have one (a stray bundle each).
    title : str
        A few words.
    body : str
        Plain words, a line each: what and how bad, likely cause, what was done, what a person can do.
    settles : bool
        Whether it may well clear by itself: no message is sent before it was seen twice or lasted `SETTLING`.
    """

    usecase: str
    key: str
    kind: str
    severity: Severity
    title: str
    body: str
    evidence: dict[str, Any] = field(default_factory=dict)
    settles: bool = False

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"{self.key!r} is no key of a finding: it must match {_KEY.pattern}")


@dataclass(frozen=True)
class Finding:
    """A finding as it is kept.

    Attributes
    ----------
    opened, last_seen, resolved : datetime
        Instants of the runs that found it first and last, and found it gone (`as_of`: a replay's lie in the past).
    recorded_at, resolved_at : datetime
        When that was written down.
    due : datetime
        From when on a message about it may be sent.
    """

    id: int
    usecase: str
    key: str
    kind: str
    severity: Severity
    title: str
    body: str
    evidence: dict[str, Any]
    opened: datetime
    last_seen: datetime
    times_seen: int
    recorded_at: datetime
    due: datetime
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    resolved: datetime | None = None
    resolved_at: datetime | None = None
    resolved_how: str | None = None

    @property
    def open(self) -> bool:
        """Whether it stands."""
        return self.resolved_at is None


class Findings(Transactions):
    """What is wrong with each use case, and what was."""

    def record(self, connection: Connection, found: Found, as_of: datetime, *, once: bool = False) -> bool:
        """Open a finding inside a transaction, or refresh the open one with this key.

        A severity that rises counts as news: whoever acknowledged the lesser one has not seen this.

        Parameters
        ----------
        once : bool
            Whether what was found as of an instant is the same look where another process finds it, too: it is counted
            once.

        Returns
        -------
        bool
            Whether it was opened, or rose.
        """
        now = datetime.now(UTC)
        content = {
            "kind": found.kind,
            "severity": found.severity,
            "title": mask(found.title),
            "body": mask(found.body),
            "evidence": to_json(found.evidence),
        }
        known = connection.execute(select(tables.findings).where(_is_open(found.usecase, found.key))).one_or_none()
        if known is None:
            connection.execute(
                insert(tables.findings).values(
                    usecase=found.usecase,
                    key=found.key,
                    opened=as_of,
                    last_seen=as_of,
                    times_seen=1,
                    recorded_at=now,
                    due=now + SETTLING if found.settles else now,
                    **content,
                )
            )
            return True
        risen = worse(found.severity, known.severity)
        values: dict[str, Any] = {
            "last_seen": max(as_of, known.last_seen),
            "times_seen": known.times_seen + (not once or as_of > known.last_seen),
            "due": min(known.due, now),
        }
        if risen:
            values |= {"acknowledged_by": None, "acknowledged_at": None}
        connection.execute(update(tables.findings).where(tables.findings.c.id == known.id).values(**content, **values))
        return risen

    def resolve(self, connection: Connection, usecase: str, key: str, how: str, as_of: datetime) -> bool:
        """Close an open finding inside a transaction; False where none is open.

        Parameters
        ----------
        how : str
            Why it stands no more, in words.
        """
        gone = update(tables.findings).where(_is_open(usecase, key)).values(_resolved(how, as_of))
        return bool(connection.execute(gone).rowcount)

    def resolve_all(self, connection: Connection, usecase: str, how: str, as_of: datetime) -> None:
        """Close all open findings of a use case inside a transaction."""
        table = tables.findings
        standing = (table.c.usecase == usecase) & table.c.resolved_at.is_(None)
        connection.execute(update(table).where(standing).values(_resolved(how, as_of)))

    def end(self, usecase: str, keys: Iterable[str], how: str, as_of: datetime) -> None:
        """Close findings, where they are open; nothing is written where none is."""
        self._close(usecase, {each.key for each in self.open_findings(usecase)} & set(keys), how, as_of)

    def end_all_but(
        self, usecase: str, kinds: Collection[str], kept: Collection[str], how: str, as_of: datetime
    ) -> None:
        """Close the open findings of kinds whose keys a look did not find again."""
        standing = self.open_findings(usecase)
        gone = {each.key for each in standing if each.kind in kinds and each.key not in kept}
        self._close(usecase, gone, how, as_of)

    def _close(self, usecase: str, keys: Collection[str], how: str, as_of: datetime) -> None:
        if keys:
            with self.transaction() as connection:
                for key in sorted(keys):
                    self.resolve(connection, usecase, key, how, as_of)

    def acknowledge(self, connection: Connection, usecase: str, key: str, by: str) -> bool:
        """Note inside a transaction that a person has seen an open finding; False where none is open.

        No more messages of it are sent, unless it gets worse.
        """
        values = {"acknowledged_by": by, "acknowledged_at": datetime.now(UTC)}
        return bool(connection.execute(update(tables.findings).where(_is_open(usecase, key)).values(values)).rowcount)

    def open_findings(self, usecase: str | None = None) -> list[Finding]:
        """Return what stands, the worst first, then the oldest; of all use cases where none is named."""
        query = select(tables.findings).where(tables.findings.c.resolved_at.is_(None)).order_by(tables.findings.c.id)
        if usecase is not None:
            query = query.where(tables.findings.c.usecase == usecase)
        with self.reading() as connection:
            found = [finding_of(row) for row in connection.execute(query).mappings()]
        return sorted(found, key=lambda each: -SEVERITIES.index(each.severity))

    def open_keys(self, usecase: str, kind: str, connection: Connection | None = None) -> list[str]:
        """Return the keys of what stands of a kind, as a transaction sees it where one is given."""
        table = tables.findings
        standing = (table.c.usecase == usecase) & (table.c.kind == kind) & table.c.resolved_at.is_(None)
        query = select(table.c.key).where(standing).order_by(table.c.key)
        with self.reading() if connection is None else nullcontext(connection) as asking:
            return list(asking.execute(query).scalars())

    def findings(self, usecase: str, last: int | None = None) -> list[Finding]:
        """Return what stands and what was, newest first."""
        table = tables.findings
        query = select(table).where(table.c.usecase == usecase).order_by(table.c.id.desc()).limit(last)
        with self.reading() as connection:
            return [finding_of(row) for row in connection.execute(query).mappings()]

    def finding(self, usecase: str, key: str, number: int | None = None) -> Finding | None:
        """Return the finding with a key: that of a number (`id`), else the open one, else the newest that was."""
        table = tables.findings
        query = select(table).where(table.c.usecase == usecase, table.c.key == key).order_by(table.c.id.desc()).limit(1)
        if number is not None:
            query = query.where(table.c.id == number)
        with self.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return finding_of(row) if row else None


def _is_open(usecase: str, key: str) -> Any:  # noqa: ANN401 - SQLAlchemy's condition
    table = tables.findings
    return (table.c.usecase == usecase) & (table.c.key == key) & table.c.resolved_at.is_(None)


def _resolved(how: str, as_of: datetime) -> dict[str, Any]:
    return {"resolved": as_of, "resolved_at": datetime.now(UTC), "resolved_how": mask(how)}


def finding_of(row: RowMapping) -> Finding:
    """Make a finding of its row."""
    return Finding(**{**row, "evidence": json.loads(row["evidence"])})
