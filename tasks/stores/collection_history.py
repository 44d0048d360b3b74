"""What each collection brought: rows read of each source, new and corrected ones, and those that did not go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import Connection, delete, insert, select

from tasks.stores import tables
from tasks.stores.transactions import Transactions

KEPT = timedelta(days=400)


class Brought(msgspec.Struct, frozen=True):
    """What a collection brought.

    Attributes
    ----------
    read : dict of str to int
        Rows read of each source; a source that is read whole counts all of its rows each time.
    rows, quarantined, held : int, dict of str to int, list of str
        Rows that were held against the suite, those that failed by the expectation they broke, and what the batch as a
        whole broke, so that nothing is trained on it.
    newest : dict of str to datetime
        The newest event time of each source that has one.
    """

    new: int = 0
    corrected: int = 0
    read: dict[str, int] = {}
    rows: int = 0
    quarantined: dict[str, int] = {}
    held: list[str] = []
    newest: dict[str, datetime] = {}


_read = msgspec.json.Decoder(Brought).decode


class CollectionHistory(Transactions):
    """Keeps and returns what collections brought, those of no turn among them."""

    def note_collection(self, usecase: str, as_of: datetime, brought: Brought) -> None:
        """Keep what a collection brought."""
        table, now = tables.collections, datetime.now(UTC)
        content = msgspec.json.encode(brought).decode()
        with self.transaction() as connection:
            connection.execute(insert(table).values(usecase=usecase, as_of=as_of, recorded_at=now, content=content))
            connection.execute(delete(table).where(table.c.usecase == usecase, table.c.recorded_at < now - KEPT))

    def newest_collections(self, connection: Connection, usecase: str, last: int) -> list[tuple[datetime, Brought]]:
        """Return what the newest collections brought, each with the instant it was as of, oldest first."""
        table = tables.collections
        query = select(table.c.as_of, table.c.content).where(table.c.usecase == usecase)
        rows = connection.execute(query.order_by(table.c.id.desc()).limit(last))
        return [(as_of, _read(content)) for as_of, content in rows][::-1]
