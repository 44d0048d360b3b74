"""What keeps a table of the lake quick to read: many small files become one, and what nobody refers to goes."""

from __future__ import annotations

import polars as pl

from tasks.stores.lake import UPKEEP, Lake, Table

_MANY, _SMALL, _MERGED = 48, 2**24, 2**26
"""So many files of less than so many bytes are merged, into files of so many bytes."""
_ROW_GROUP = 50_000
"""Rows that are read or left out together, by their event times."""


def compact(lake: Lake, table: Table) -> int:
    """Merge the many small files that harvests and collections leave, and delete those that were merged a week ago.

    Each commit is a file, and a query opens all of them. Readers keep the version they opened; of two that compact
    at once one does. Of the clean table nothing is deleted: training sets refer to its versions.

    Returns
    -------
    int
        How many files were merged.
    """
    from deltalake import WriterProperties
    from deltalake.exceptions import CommitFailedError

    if lake.open(table) is None:
        return 0
    with lake.alone(UPKEEP), lake.reading(table):
        handle = lake.open(table)
        if handle is None:
            return 0
        sizes = pl.DataFrame(handle.get_add_actions(flatten=True))["size_bytes"]
        if int((sizes < _SMALL).sum()) < _MANY:
            return 0
        try:
            done = handle.optimize.compact(
                target_size=_MERGED, writer_properties=WriterProperties(max_row_group_size=_ROW_GROUP)
            )
        except CommitFailedError:
            return 0
        handle.vacuum(dry_run=False)
        handle.create_checkpoint()  # whoever opens it reads the log from here on
        return int(done["numFilesRemoved"])
