"""Rows leave a table for good: rewritten without them, and every older version, file and entry of the log removed.

A table says in the note of a commit that rows were erased. What is older than that commit is removed afterwards; a
process that is killed in between leaves it to the next call of `purge`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from expectations.errors import LakeError
from tasks.stores.damage import LOG
from tasks.stores.files import storing
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Table

if TYPE_CHECKING:
    from deltalake import DeltaTable

ERASED = "driftwheel.erased"
"""Note of a commit: rows were erased by it, and no version from before may stay."""
_OURS = "driftwheel."
_NUMBERED = re.compile(r"(\d{20})\.")
_UNFINISHED = "_commit_*.json.tmp"


def require_folder(lake: Lake) -> Path:
    """Return the folder of the tables.

    Raises
    ------
    LakeError
        If they lie at an address, where no process can be kept from writing meanwhile.
    """
    if lake.folder is None:
        raise LakeError(
            "a lake in a folder, whose older versions can be removed while no other process writes",
            f"one at the address {lake.root}",
            "Stop what writes to it, copy it into a folder, set DRIFTWHEEL_LAKE to that, run this, and copy it back",
        )
    return lake.folder


def rewrite(lake: Lake, table: Table, kept: Callable[[pl.LazyFrame], pl.LazyFrame], notes: Mapping[str, str]) -> int:
    """Write a table anew with some of its rows, in one commit that keeps what earlier ones noted.

    Call `purge` afterwards; until then earlier versions hold the other rows still.

    Parameters
    ----------
    kept : callable
        Takes all rows and returns those that stay, in all their columns.
    notes : mapping of str to str
        Kept in the commit, too.

    Returns
    -------
    int
        How many rows are gone. Of none nothing is written but notes that are not there yet.
    """
    from deltalake import CommitProperties, write_deltalake

    from tasks.stores.delta import WRITING

    require_folder(lake)
    handle = lake.open(table, whole=True)
    if handle is None:
        return 0
    rows = pl.scan_delta(handle)
    with lake.reading(table):
        stay = kept(rows).collect(engine="streaming")
        gone = int(rows.select(pl.len()).collect().item()) - len(stay)
        if not gone:
            noted = notes_of(handle)
            if notes and {**noted, **notes} != noted:
                write_deltalake(
                    handle,
                    stay.select(rows.collect_schema().names()).clear(),
                    mode="append",
                    commit_properties=CommitProperties({**noted, **notes}),
                )
            return 0
        write_deltalake(
            handle,
            stay.select(rows.collect_schema().names()),
            mode="overwrite",
            commit_properties=CommitProperties({**notes_of(handle), **notes, ERASED: "1"}),
            writer_properties=WRITING,
        )
    return gone


def notes_of(handle: DeltaTable) -> dict[str, str]:
    """Return what the newest commits note under each of our names: it would go with the log."""
    found: dict[str, str] = {}
    for commit in reversed(handle.history()):  # the newest first, as it comes
        found |= {name: str(value) for name, value in commit.items() if name.startswith(_OURS)}
    found.pop(ERASED, None)
    return found


def purge(lake: Lake, table: Table) -> bool:
    """Remove what is older than the commit that erased rows: files, entries of the log, and its checkpoints.

    No other process may write to the table meanwhile: files of a commit that is not made yet are removed, too.

    Returns
    -------
    bool
        Whether there was anything to remove.
    """
    folder = require_folder(lake) / table
    handle = lake.open(table)
    if handle is None or not (older := _older(folder, handle)):
        return False
    with lake.reading(table):
        handle.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
        newest = lake.open(table) or handle
        newest.create_checkpoint()
    with storing("remove older versions of", folder):
        for path in [*(folder / LOG).glob(_UNFINISHED), *older]:  # the oldest last: until then there is something left
            path.unlink(missing_ok=True)
    return True


def is_unfinished(lake: Lake, table: Table) -> bool:
    """Whether one of the newest commits erased rows, and a process was killed before it removed what is older."""
    handle = lake.open(table) if lake.note(table, ERASED) else None
    return handle is not None and bool(_older(require_folder(lake) / table, handle))


def _older(folder: Path, handle: DeltaTable) -> list[Path]:
    """Return the entries of the log from before rows were erased, the newest first."""
    erased = max((int(commit["version"]) for commit in handle.history() if ERASED in commit), default=0)
    numbered = {path: _NUMBERED.match(path.name) for path in (folder / LOG).iterdir()}
    return sorted((path for path, found in numbered.items() if found and int(found[1]) < erased), reverse=True)
