"""What keeps a table of the lake quick to read: many small files become one, and what is referred to no more goes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import polars as pl

from tasks.stores.lake import COLLECTION, UPKEEP, Lake
from tasks.stores.lake_tables import Table
from tasks.stores.rewriting import notes_of
from tasks.stores.table_settings import NOTED

if TYPE_CHECKING:
    from deltalake import DeltaTable

_MANY, _SMALL, _MERGED = 48, 2**24, 2**26
"""So many files of less than so many bytes are merged, into files of so many bytes."""
_ROW_GROUP = 50_000
"""Rows that are read or left out together, by their event times."""


def compact(lake: Lake, table: Table) -> int:
    """Merge the many small files that harvests and collections leave, and remove what was merged a week ago.

    Each commit is a file and an entry of the log, and a query opens all of them. Entries from before a week ago go,
    too; what those of the raw table noted is noted by the merge anew, while no collection notes anything newer. At a
    store's address none can be held off, and the raw table's entries stay. Readers keep the version they opened; of two
    that compact at once one does. Of the clean table nothing is removed: training sets refer to its versions.

    Returns
    -------
    int
        How many files were merged.
    """
    from deltalake import CommitProperties, WriterProperties
    from deltalake.exceptions import CommitFailedError

    if not _is_scattered(lake.open(table)):
        return 0
    in_folder = lake.folder is not None
    with ExitStack() as stack:
        if table in NOTED:
            stack.enter_context(lake.alone(COLLECTION))  # its notes would be older ones' that the merge takes along
        stack.enter_context(lake.alone(UPKEEP))
        stack.enter_context(lake.reading(table))
        handle = lake.open(table)  # another one may have merged them meanwhile
        if handle is None or not _is_scattered(handle):
            return 0
        notes = notes_of(handle) if table in NOTED and in_folder else {}
        try:
            done = handle.optimize.compact(
                target_size=_MERGED,
                writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=_ROW_GROUP),
                commit_properties=CommitProperties(notes),
            )
        except CommitFailedError:
            return 0
        handle.vacuum(dry_run=False)
        handle.create_checkpoint()  # whoever opens it reads the log from here on
        if in_folder or table not in NOTED:
            handle.cleanup_metadata()  # only now: what entries from before the checkpoint noted is noted anew
        return int(done["numFilesRemoved"])


def _is_scattered(handle: DeltaTable | None) -> bool:
    """Whether a table has so many small files that merging them pays."""
    if handle is None:
        return False
    sizes = pl.DataFrame(handle.get_add_actions(flatten=True))["size_bytes"]
    return int((sizes < _SMALL).sum()) >= _MANY
