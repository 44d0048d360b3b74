"""Which process runs which flow: what one on another host cannot look up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update

from tasks.stores import tables
from tasks.stores.transactions import Transactions

PRESENCE = timedelta(minutes=5)
"""How long a flow on another host may be silent before its process is taken for dead."""


@dataclass(frozen=True)
class Process:
    """A process: its host, its number there, and when it began (numbers are used again)."""

    host: str
    process: int
    born: float


class Presences(Transactions):
    """Flow runs that have not ended, and their processes."""

    def enter(self, flow_run: str, usecase: str, process: Process) -> None:
        """Note that a process runs a flow."""
        with self.transaction() as connection:
            connection.execute(
                delete(tables.presences).where(tables.presences.c.flow_run == flow_run)
            )  # a retry keeps its id
            values = {"flow_run": flow_run, "usecase": usecase, "seen": datetime.now(UTC), **vars(process)}
            connection.execute(insert(tables.presences).values(values))

    def stay(self, flow_run: str) -> bool:
        """Note that it still runs; False where it was taken for dead."""
        with self.transaction() as connection:
            where = tables.presences.c.flow_run == flow_run
            return bool(
                connection.execute(update(tables.presences).where(where).values(seen=datetime.now(UTC))).rowcount
            )

    def leave(self, flow_run: str) -> None:
        """Note that a flow ended, well or not."""
        with self.transaction() as connection:
            connection.execute(delete(tables.presences).where(tables.presences.c.flow_run == flow_run))

    def present(self, usecase: str | None = None) -> dict[str, tuple[Process, datetime]]:
        """Flow runs (of all use cases, or one) that never ended, their processes, and when those were last heard of."""
        wanted = select(tables.presences)
        if usecase is not None:
            wanted = wanted.where(tables.presences.c.usecase == usecase)
        with self.reading() as connection:
            rows = connection.execute(wanted).all()
        return {row.flow_run: (Process(row.host, row.process, row.born), row.seen) for row in rows}
