"""Events on their way: written with what they report, sent afterwards, each once."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

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


class Outbox(Transactions):
    """Events that wait for the flow server."""

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
