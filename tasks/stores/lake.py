"""The lake: Delta tables of rows, one folder a use case, and the one interface that knows what may be read when."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from expectations.errors import LakeError
from tasks.stores.damage import lake_faults, require_files, require_log, require_room
from tasks.stores.lake_addresses import address_of, folder_of, usable
from tasks.stores.lake_tables import ADDED, GROWING, Table, grows
from tasks.stores.locking import alone
from tasks.stores.table_columns import conform, refuse_alike, widened
from tasks.stores.table_settings import JOURNALED, settings_of

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

_COMMITS_READ = 20
COLLECTION = "collection"
"""Name of the work, one at a time, that appends to the raw table and notes what it knows of it."""
UPKEEP = "upkeep"
"""Name of the work, one at a time, that removes files of a table."""


@dataclass(frozen=True)
class Lake:
    """Tables of one use case under a root folder or address."""

    root: str
    usecase: str

    @property
    def folder(self) -> Path | None:
        """The folder its tables lie in; None where it is at an address of a store."""
        return folder_of(self.root, self.usecase)

    def address(self, table: Table) -> str:
        """Where a table lies.

        Raises
        ------
        LakeError
            If Delta cannot have a table in such a folder.
        """
        return address_of(self.root, self.usecase, table)

    @contextmanager
    def reading(self, table: Table) -> Iterator[None]:
        """Say what is wrong with a table while it is read.

        Raises
        ------
        LakeError
            If it is damaged.
        StorageError
            If its disk is full, or may not be read or written.
        UnreachableError
            If it lies in a store that does not answer.
        """
        with lake_faults(f"the table {table} of {self.usecase}", self.address(table)):
            yield

    def collect(self, table: Table, query: pl.LazyFrame) -> pl.DataFrame:
        """Run a query over a table; raises as `reading` does."""
        with self.reading(table):
            return query.collect()

    def open(self, table: Table, version: int | None = None, *, whole: bool = False) -> DeltaTable | None:
        """Open a table at a version, the newest where not given; None where there is no such table.

        Parameters
        ----------
        whole : bool
            Whether its rows are to be read, too.

        Raises
        ------
        LakeError
            If its log is damaged, or, where it must be whole, a file of its rows.
        """
        from deltalake import DeltaTable

        from tasks.stores.delta import LocalTable

        address = self.address(table)
        with self.reading(table):
            there = (
                DeltaTable.is_deltatable(address) if self.folder is None else require_log(self.folder / table, version)
            )
            if not there:
                return None
            found = (DeltaTable if self.folder is None else LocalTable)(address, version=version)
            if whole and self.folder is not None:
                require_files(self.folder / table, found)
            return found

    def version(self, table: Table) -> int | None:
        """Latest version of a table, None where it does not exist."""
        found = self.open(table)
        return None if found is None else found.version()

    @contextmanager
    def alone(self, work: str) -> Iterator[None]:
        """Wait for another process that does the same work on these tables, where they lie in a folder.

        At a store's address no process can be waited for: of two the first to commit wins, by what its rows follow.
        """
        if self.folder is None:
            yield
            return
        with alone(usable(self.folder) / f".{work}", f"another {work} of {self.usecase}"):
            yield

    def transaction(self, table: Table, application: str, version: int | None = None) -> int:
        """Return the number of the last transaction an application committed to a table; 0 for none."""
        found = self.open(table, version)
        return 0 if found is None else found.transaction_version(application) or 0

    def note(self, table: Table, name: str) -> str | None:
        """Return what the newest commits that note something under a name note; None where none of them does."""
        found = self.open(table)
        history = [] if found is None else found.history(_COMMITS_READ)
        return next((str(commit[name]) for commit in history if name in commit), None)

    def append(
        self,
        table: Table,
        frame: pl.DataFrame,
        *,
        transactions: Mapping[str, int],
        follows: int | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> bool:
        """Append rows in one atomic commit, once: rows whose transactions are all committed are not written again.

        Parameters
        ----------
        table : str
        frame : polars.DataFrame
            Columns as the table's; the first append makes the table.
        transactions : mapping of str to int
            Application -> number from 1, growing. What makes a repeat harmless.
        follows : int, optional
            The number the rows were made after (0 for none): where the application has committed another one since,
            they may be there already, and nothing is written.
        notes : mapping of str to str, optional
            Kept in the commit.

        Returns
        -------
        bool
            Whether anything was written.

        Raises
        ------
        LakeError
            If the columns are not the table's, only some of the transactions were committed before, or the table is
            damaged.
        StorageError
            If there is no room for them.
        """
        if self.folder is not None:
            require_room(self.folder, frame)
        with self.reading(table):
            return self._append(table, frame, transactions, follows, notes or {})

    def _append(
        self,
        table: Table,
        frame: pl.DataFrame,
        transactions: Mapping[str, int],
        follows: int | None,
        notes: Mapping[str, str],
    ) -> bool:
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError

        from tasks.stores.delta import WRITING

        now = int(time.time() * 1000) if table in JOURNALED else None
        marks = [Transaction(name, number, now) for name, number in transactions.items()]
        properties = CommitProperties(custom_metadata=dict(notes), app_transactions=marks)
        handle = self.open(table)
        if handle is None:
            if follows:  # what the rows follow is gone
                return False
            handle = self._create(table, frame, properties)
            if handle is None:
                return True
        kept = handle.metadata().configuration
        if lacking := {key: value for key, value in settings_of(table).items() if kept.get(key) != value}:
            handle.alter.set_table_properties(lacking)  # of a table made before they were kept
        # the table was opened before this check: the commit fails if another one of the application comes between
        committed = {name: handle.transaction_version(name) or 0 for name in transactions}
        if follows is not None and any(number != follows for number in committed.values()):
            return False
        done = [name for name, number in transactions.items() if committed[name] >= number]
        if done:
            if len(done) < len(transactions):
                raise LakeError(
                    f"none or all of {len(transactions)} transactions in {table}",
                    f"{len(done)} of them",
                    "Harvest again: committed ones are left out",
                )
            return False
        try:
            if table in GROWING:
                handle = self._grown(table, handle, frame)
                if any((handle.transaction_version(name) or 0) != number for name, number in committed.items()):
                    return False  # it was opened anew, and another one came before that
            schema = self._rows(table, handle).collect_schema()
            write_deltalake(
                handle,
                conform(table, schema, frame, ADDED.get(table, {}), partial(grows, table)),
                mode="append",
                schema_mode="merge" if table in ADDED or table in GROWING else None,
                commit_properties=properties,
                writer_properties=WRITING,
            )
        except CommitFailedError:
            if any(self.transaction(table, name) != number for name, number in committed.items()):
                return False
            raise
        return True

    def _create(self, table: Table, frame: pl.DataFrame, properties: CommitProperties) -> DeltaTable | None:
        """Make a table with its first rows, in one commit; where another process was quicker, return its table."""
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        from tasks.stores.delta import WRITING

        refuse_alike(table, frame.columns)
        once = CommitProperties(properties.custom_metadata, 0, properties.app_transactions)
        typed = frame.cast({name: pl.String for name, dtype in frame.schema.items() if dtype == pl.Null})
        try:
            write_deltalake(
                self.address(table),
                typed,
                mode="error",
                configuration=settings_of(table),
                commit_properties=once,
                writer_properties=WRITING,
            )
        except DeltaError:
            handle = self.open(table)
            if handle is None:
                raise
            return handle
        return None

    def _grown(self, table: Table, handle: DeltaTable, frame: pl.DataFrame) -> DeltaTable:
        """Rewrite a table, in a version of its own, where its columns can only hold new values with a wider type."""
        from deltalake import write_deltalake

        from tasks.stores.delta import WRITING

        wider = widened(self._rows(table, handle), frame)
        if wider is None:
            return handle
        write_deltalake(handle, wider, mode="overwrite", schema_mode="overwrite", writer_properties=WRITING)
        return self.open(table) or handle

    def scan(self, table: Table, version: int | None = None) -> pl.LazyFrame:
        """Read a table lazily, as it is. Those of one append come in its order; appends in no particular order.

        Raises
        ------
        LakeError
            If there is no such table yet, or a file of it is damaged or gone.
        """
        found = self.open(table, version, whole=True)
        if found is None:
            raise LakeError(f"a table {table} of {self.usecase}", "none", "Run the collect flow first")
        return self._rows(table, found)

    def _rows(self, table: Table, handle: DeltaTable) -> pl.LazyFrame:
        if self.folder is not None:
            rows = pl.scan_delta(handle)
        else:  # a store's address is given as it is: Polars finds its credentials by it
            rows = pl.scan_delta(self.address(table), version=handle.version())
        added = ADDED.get(table)
        if not added:
            return rows
        present = rows.collect_schema()
        return rows.with_columns(
            pl.lit(None, dtype).alias(name) for name, dtype in added.items() if name not in present
        )
