"""Transactions of the platform database, and what their faults are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from tasks.stores import tables
from tasks.stores.engines import READING, engine_to_read, engine_to_write, faults


class Transactions:
    """A database that is written and read in transactions.

    Parameters
    ----------
    url : str
        A SQLAlchemy address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open one transaction, alone.

        Raises
        ------
        DatabaseError
            If the database is damaged, or of another version.
        BusyError
            If another process holds it for too long.
        StorageError
            If its disk is full, or cannot be written.
        UnreachableError
            If it is a server's that does not answer.
        """
        with faults(self.url), engine_to_write(self.url, tables.metadata).begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads: it waits for no writer. Raises as `transaction` does."""
        with (
            faults(self.url),
            engine_to_read(self.url, tables.metadata).connect().execution_options(**{READING: True}) as connection,
            connection.begin(),
        ):
            yield connection
