"""The platform database: use cases, turns of the wheel, measurements, the ledger, findings, the outbox.

Unique constraints make a repeat harmless; what belongs together is one transaction. What only reads waits for no
writer, and needs no disk that can be written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update

from tasks.stores import tables
from tasks.stores.collection_history import CollectionHistory
from tasks.stores.deliveries import Deliveries
from tasks.stores.findings import Found
from tasks.stores.ledger import Entry, Ledger
from tasks.stores.marks import Marks
from tasks.stores.outbox import Outbox
from tasks.stores.presences import Presences
from tasks.stores.turns import Turns

HELD = "held"
"""Mark: what the newest data broke, as JSON."""
HELD_BATCH = "held batch"
"""Mark: the newest batch that was held against the suite."""
VOUCHED = "vouched"
"""Mark: the newest batch that a person let go on although it was held."""
DEPLOYED = "schedule"
"""Mark: that it got deployments, and by which schedule of its YAML, as JSON; it stays when the use case is removed."""
REMOVED = "removed"
"""Mark: when the use case was removed, until it is added again."""
RELEASE_LOOK = "release look"
"""Mark: what was found when a candidate was looked at last, as JSON."""


class Database(Turns, Ledger, Outbox, Presences, Deliveries, CollectionHistory, Marks):
    """What outlives a run, as rows.

    Parameters
    ----------
    url : str
        A SQLAlchemy address.
    """

    def report(self, connection: Connection, entry: Entry, found: Found) -> bool:
        """Write what was found into the ledger, and record it, inside a transaction; False where the entry stands.

        The ledger has it once, the finding is refreshed each time.
        """
        self.record(connection, found, entry.as_of)
        return self.write(connection, entry)

    def add_use_case(self, name: str, folder: Path, digest: str, *, trusted: str | None = None) -> None:
        """Register a use case, or its new place and content.

        Parameters
        ----------
        trusted : str, optional
            Digest of the code of its folder that may run from now on; without it what was said before stands.
        """
        with self.transaction() as connection:
            values = {"folder": str(folder), "digest": digest}
            if not connection.execute(
                update(tables.use_cases).where(tables.use_cases.c.name == name).values(values)
            ).rowcount:
                connection.execute(insert(tables.use_cases).values(name=name, schedule="{}", **values))
            self.remove_mark(connection, name, REMOVED)
            if trusted is not None:
                connection.execute(delete(tables.trusted_code).where(tables.trusted_code.c.usecase == name))
                connection.execute(insert(tables.trusted_code).values(usecase=name, digest=trusted))

    def trusted_code(self, name: str) -> str | None:
        """Return the digest of the code that a registered use case may run."""
        trusted = tables.trusted_code
        with self.reading() as connection:
            return connection.execute(select(trusted.c.digest).where(trusted.c.usecase == name)).scalar()

    def remove_use_case(self, name: str) -> bool:
        """Forget that a use case is registered; its rows, models and decisions stay, and its findings are over."""
        now = datetime.now(UTC)
        with self.transaction() as connection:
            self.resolve_all(connection, name, "the use case was removed", now)
            connection.execute(delete(tables.trusted_code).where(tables.trusted_code.c.usecase == name))
            gone = connection.execute(delete(tables.use_cases).where(tables.use_cases.c.name == name)).rowcount
            if gone:
                self.put_mark(connection, name, REMOVED, now.isoformat())
            return bool(gone)

    def use_cases(self) -> dict[str, Path]:
        """Name -> folder of the registered use cases."""
        with self.reading() as connection:
            rows = connection.execute(
                select(tables.use_cases.c.name, tables.use_cases.c.folder).order_by(tables.use_cases.c.name)
            )
            return {row.name: Path(row.folder) for row in rows}

    def forget(self, usecase: str) -> None:
        """Delete everything known of a namespace; for replays, never for a live use case."""
        with self.transaction() as connection:
            for table in (
                tables.ledger,
                tables.findings,
                tables.targets,
                tables.target_views,
                tables.reported,
                tables.outbox,
                tables.measurements,
                tables.marks,
                tables.presences,
                tables.turns,
                tables.traffic,
                tables.collections,
            ):
                connection.execute(delete(table).where(table.c.usecase == usecase))
