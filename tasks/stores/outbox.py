"""Events and alerts on their way: written with what they report, sent afterwards, each once."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select, update

from tasks.stores import tables
from tasks.stores.plain import to_json
from tasks.stores.transactions import Transactions


@dataclass(frozen=True)
class Event:
    """An event on its way to the flow server."""

    id: str
    usecase: str
    name: str
    labels: dict[str, str]
    payload: dict[str, Any]
    occurred: datetime


Severity = Literal["info", "warning", "failure"]


@dataclass(frozen=True)
class Alert:
    """Something a person should hear."""

    entry: str
    usecase: str
    title: str
    body: str
    severity: Severity


class Outbox(Transactions):
    """Events that wait for the flow server, and alerts that wait for a person."""

    def post(
        self,
        connection: Connection,
        usecase: str,
        name: str,
        labels: dict[str, str],
        payload: dict[str, Any],
        *,
        deliver: bool = True,
    ) -> None:
        """Put an event into the outbox inside a transaction.

        Parameters
        ----------
        deliver : bool
            False where the process that posts it does the next stage itself: kept for the record, never sent.
        """
        now = datetime.now(UTC)
        connection.execute(
            insert(tables.outbox).values(
                id=str(uuid.uuid4()),
                usecase=usecase,
                name=name,
                labels=to_json(labels),
                payload=to_json(payload),
                occurred=now,
                sent=None if deliver else now,
            )
        )

    def announced(self, connection: Connection, turn_id: str, name: str) -> int:
        """Return how often an event of a turn was posted."""
        where = (tables.outbox.c.name == name) & tables.outbox.c.labels.contains(f'"{turn_id}"')
        return connection.execute(select(func.count()).where(where)).scalar_one()

    def unsent(self) -> list[Event]:
        """Events that still have to reach the flow server, oldest first."""
        with self.reading() as connection:
            rows = connection.execute(
                select(tables.outbox).where(tables.outbox.c.sent.is_(None)).order_by(tables.outbox.c.occurred)
            ).all()
        return [
            Event(row.id, row.usecase, row.name, json.loads(row.labels), json.loads(row.payload), row.occurred)
            for row in rows
        ]

    def sent(self, event_id: str) -> None:
        """Note that an event arrived."""
        with self.transaction() as connection:
            connection.execute(
                update(tables.outbox).where(tables.outbox.c.id == event_id).values(sent=datetime.now(UTC))
            )

    def alert(self, connection: Connection, alert: Alert) -> None:
        """Queue an alert inside a transaction, once."""
        if not connection.execute(select(tables.alerts.c.id).where(tables.alerts.c.entry == alert.entry)).first():
            connection.execute(
                insert(tables.alerts).values(
                    usecase=alert.usecase,
                    entry=alert.entry,
                    title=alert.title,
                    body=alert.body,
                    severity=alert.severity,
                )
            )

    def undelivered(self, usecase: str) -> list[Alert]:
        """Alerts nobody has heard yet."""
        with self.reading() as connection:
            rows = connection.execute(
                select(tables.alerts)
                .where(tables.alerts.c.usecase == usecase, tables.alerts.c.delivered.is_(None))
                .order_by(tables.alerts.c.id)
            ).all()
        return [Alert(row.entry, row.usecase, row.title, row.body, row.severity) for row in rows]

    def delivered(self, alert: Alert) -> None:
        """Note that an alert arrived."""
        with self.transaction() as connection:
            connection.execute(
                update(tables.alerts).where(tables.alerts.c.entry == alert.entry).values(delivered=datetime.now(UTC))
            )
