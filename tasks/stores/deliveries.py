"""How delivery to each target goes, and what was reported to each."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, delete, exists, insert, or_, select, update

from tasks.stores import tables
from tasks.stores.findings import Finding, Findings, finding_of
from tasks.stores.messages import Message, Post, Reported, TargetState
from tasks.stores.plain import to_json

CLAIM = timedelta(minutes=2)
"""How long one process has a target for itself; sending takes less, and one that died gives it back by this."""
_KEPT = timedelta(days=9)
"""How long what is over concerns a target that works: a weekly digest reports it. A target is remembered as long."""
_UNLISTED = timedelta(minutes=15)
"""After how long a target that no process lists is gone."""
_LISTED_EVERY = timedelta(minutes=5)
"""How often a process writes down that it lists a target."""


@dataclass(frozen=True)
class TargetReport:
    """How delivery to a target goes, for people.

    Attributes
    ----------
    target : str
        Stands for the address, which is not shown.
    label : str
        Where it stands in the use case, and what kind of address it is.
    """

    usecase: str
    target: str
    label: str
    attempts: int
    failing_since: datetime | None
    next_attempt: datetime | None
    last_error: str
    last_success: datetime | None


@dataclass(frozen=True)
class ToReport:
    """What decides what a target is sent: how delivery to it goes, what was reported to it, and what may have to be.

    Attributes
    ----------
    reported : dict of int to Reported
        By finding.
    findings : list of Finding
        What stands, and what ended lately or was not reported.
    """

    state: TargetState
    reported: dict[int, Reported]
    findings: list[Finding]


class Deliveries(Findings):
    """Targets of messages."""

    def know_targets(
        self, usecase: str, labels: Mapping[str, str], lacking: Collection[str], now: datetime
    ) -> dict[str, datetime]:
        """Note the targets a use case has for this process.

        Another process may read an older file, or only parts of one: a target that is not listed here is gone once no
        process listed it for a while, and what was reported to it is forgotten days later.

        Parameters
        ----------
        labels : mapping of str to str
            By what stands for the address.
        lacking : collection of str
            Those whose variables are not set in this process.

        Returns
        -------
        dict of str to datetime
            The targets that are not gone, and when a process that has their variables looked last (or when they were
            first known).
        """
        table, views, reported = tables.targets, tables.target_views, tables.reported
        with self.reading() as connection:
            known = dict(
                connection.execute(select(table.c.target, table.c.label).where(table.c.usecase == usecase))
                .tuples()
                .all()
            )
            rows = connection.execute(select(views).where(views.c.usecase == usecase)).all()
        seen = {row.target: (row.listed, row.sendable) for row in rows}
        due: dict[str, tuple[datetime, datetime]] = {}
        for target in known.keys() | labels.keys():
            listed, sendable = seen.get(target, (now, now))
            if target in labels and abs(now - listed) >= _LISTED_EVERY:
                listed = now
            if target in labels and target not in lacking and abs(now - sendable) >= _LISTED_EVERY:
                sendable = now
            fresh = (listed, sendable)
            if seen.get(target) != fresh:
                due[target] = fresh
        views_now = seen | due
        forgotten = [target for target, (listed, _) in views_now.items() if now - listed > _KEPT]
        renamed = {target: label for target, label in labels.items() if known.get(target) != label}
        if due or forgotten or renamed:
            with self.transaction() as connection:
                for target in forgotten:
                    for each in (table, views, reported):
                        connection.execute(delete(each).where(each.c.usecase == usecase, each.c.target == target))
                for target, (listed, sendable) in due.items():
                    values = {"listed": listed, "sendable": sendable}
                    _put(connection, views, {"usecase": usecase, "target": target}, values, {})
                for target, label in renamed.items():
                    first = {"since": datetime.now(UTC), "posts": "[]", "attempts": 0, "last_error": ""}
                    _put(connection, table, {"usecase": usecase, "target": target}, {"label": label}, first)
        return {target: sendable for target, (listed, sendable) in views_now.items() if now - listed <= _UNLISTED}

    def target_state(self, usecase: str, target: str) -> TargetState:
        """Return how delivery to a target goes; as of a new one where another process forgot it just now."""
        with self.reading() as connection:
            return _state_of(connection, usecase, target)

    def to_report(self, usecase: str, target: str, now: datetime) -> ToReport:
        """Return what decides what a target is sent."""
        reported, findings = tables.reported, tables.findings
        with self.reading() as connection:
            state = _state_of(connection, usecase, target)
            rows = connection.execute(
                select(reported).where(reported.c.usecase == usecase, reported.c.target == target)
            )
            known = {row.finding: Reported(row.severity, bool(row.resolved)) for row in rows}
            since = (state.failing_since or now) - _KEPT
            unfinished = [finding for finding, each in known.items() if not each.resolved]
            where = or_(findings.c.resolved_at.is_(None), findings.c.resolved_at > since, findings.c.id.in_(unfinished))
            query = select(findings).where(findings.c.usecase == usecase, where).order_by(findings.c.id)
            return ToReport(state, known, [finding_of(row) for row in connection.execute(query).mappings()])

    def claim_target(self, usecase: str, target: str, now: datetime) -> bool:
        """Take a target for this process alone; False where another has it."""
        table = tables.targets
        free = or_(table.c.claimed_until.is_(None), ~table.c.claimed_until.between(now, now + 2 * CLAIM))
        where = (table.c.usecase == usecase) & (table.c.target == target) & free
        with self.transaction() as connection:
            return bool(connection.execute(update(table).where(where).values(claimed_until=now + CLAIM)).rowcount)

    def free_target(self, usecase: str, target: str) -> None:
        """Give a claimed target back as it is."""
        table = tables.targets
        where = (table.c.usecase == usecase) & (table.c.target == target)
        with self.transaction() as connection:
            connection.execute(update(table).where(where).values(claimed_until=None))

    def note_attempt(self, usecase: str, target: str, state: TargetState, message: Message, *, taken: bool) -> None:
        """Keep how an attempt went and what it reported, and release the target; all at once."""
        values = {
            "posts": to_json([[each.at, each.failures, each.digest] for each in state.posts]),
            "digested": state.digested,
            "attempts": state.attempts,
            "next_attempt": state.next_attempt,
            "failing_since": state.failing_since,
            "last_error": state.last_error,
            "last_success": state.last_success,
            "claimed_until": None,
        }
        table, reported = tables.targets, tables.reported
        with self.transaction() as connection:
            connection.execute(
                update(table).where(table.c.usecase == usecase, table.c.target == target).values(**values)
            )
            own = (reported.c.usecase == usecase) & (reported.c.target == target)
            before = set(connection.execute(select(reported.c.finding).where(own)).scalars())
            for each in message.findings:
                said = {"severity": each.severity, "resolved": int(not each.open)} if taken else {}
                if each.id not in before:
                    key = {"usecase": usecase, "target": target, "finding": each.id}
                    connection.execute(insert(reported).values(**{"severity": None, "resolved": 0, **key, **said}))
                elif said:
                    connection.execute(update(reported).where(own, reported.c.finding == each.id).values(**said))

    def target_reports(self, usecases: Iterable[str]) -> list[TargetReport]:
        """Return how delivery to the targets of use cases goes; without those that are gone."""
        table, views = tables.targets, tables.target_views
        listed = exists().where(
            views.c.usecase == table.c.usecase,
            views.c.target == table.c.target,
            views.c.listed >= datetime.now(UTC) - _UNLISTED,
        )
        named = table.c.usecase.in_(list(usecases))
        query = select(table).where(named, listed).order_by(table.c.usecase, table.c.label)
        names = TargetReport.__dataclass_fields__
        with self.reading() as connection:
            return [TargetReport(**{name: row[name] for name in names}) for row in connection.execute(query).mappings()]


def _put(
    connection: Connection, table: Table, key: dict[str, str], values: dict[str, Any], first: dict[str, Any]
) -> None:
    """Change the row with a key, or make it: with what only a first one is given."""
    where = [table.c[name] == value for name, value in key.items()]
    if not connection.execute(update(table).where(*where).values(**values)).rowcount:
        connection.execute(insert(table).values(**key, **values, **first))


def _state_of(connection: Connection, usecase: str, target: str) -> TargetState:
    table = tables.targets
    query = select(table).where(table.c.usecase == usecase, table.c.target == target)
    row = connection.execute(query).mappings().one_or_none()
    return TargetState(datetime.now(UTC)) if row is None else _state(row)


def _state(row: RowMapping) -> TargetState:
    posts = tuple(
        Post(datetime.fromisoformat(at), failures, digest) for at, failures, digest in json.loads(row["posts"])
    )
    return TargetState(
        row["since"],
        posts,
        row["digested"],
        row["attempts"],
        row["next_attempt"],
        row["failing_since"],
        row["last_error"],
        row["last_success"],
    )
