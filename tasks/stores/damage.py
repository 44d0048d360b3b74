"""What is wrong with a Delta table whose files are damaged or gone, or whose disk is full, in words.

Deltalake and Polars say it in many ways: in exceptions of their own, of the system's, of Arrow's; of a file that was
cut short Polars panics, and an empty entry of the log deltalake takes for one that says nothing. So what can be seen
from outside is looked at first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import polars as pl

from expectations.errors import DriftwheelError, LakeError, StorageError, UnreachableError
from tasks.stores.files import storage_error_in

if TYPE_CHECKING:
    from deltalake import DeltaTable

LOG = "_delta_log"
_REMEDY = (
    "Bring the home back from a backup (`driftwheel restore`); of raw and clean, what the sources still hold can be "
    "collected again once both folders are moved away"
)
_MAGIC = b"PAR1"
_MIN_FREE = 2**20
_COMPRESSION = 20
"""As a Parquet file a frame takes at least so little of its room in memory."""


@contextmanager
def lake_faults(what: str, address: str) -> Iterator[None]:
    """Turn what the libraries say about a table into an error of ours.

    Raises
    ------
    LakeError
        If the table is damaged.
    StorageError
        If its disk is full, or may not be read or written.
    UnreachableError
        If it lies in a store that does not answer.
    """
    import pyarrow as pa
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, OSError, pl.exceptions.ComputeError, pl.exceptions.PanicException, pa.ArrowInvalid) as error:
        raise _fault(what, address, error) from error


def _fault(what: str, address: str, error: BaseException) -> DriftwheelError:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
    if "://" in address and isinstance(error, OSError):
        return UnreachableError(f"{what} at {address}", said, "Check its address, its credentials and the network")
    stored = storage_error_in(f"use {what} at", address, str(error))
    gone = isinstance(error, FileNotFoundError)  # a file the log names: damage, whatever the system calls it
    if stored is not None and not gone:
        return stored
    return LakeError(f"{what} at {address}, whole", said, _REMEDY)


def require_log(folder: Path, version: int | None = None) -> bool:
    """Refuse a table whose log is gone, or has an entry without a word: its rows would be missing in silence.

    A version from before the log begins was removed on purpose, and is no damage; that is said.

    Entries that the newest checkpoint stands for are not looked at, where the newest version is to be read: nothing
    reads them, and there are as many as there ever were commits.

    Returns
    -------
    bool
        Whether there is a table.

    Raises
    ------
    LakeError
        If it is so.
    """
    log = folder / LOG
    try:
        with os.scandir(log) as found:
            entries = {entry.name: entry for entry in found}
    except (FileNotFoundError, NotADirectoryError):
        entries = {}
    commits = sorted(name for name in entries if name.endswith(".json"))
    checkpoints = sorted(name.partition(".")[0] for name in entries if name.endswith(".checkpoint.parquet"))
    since = f"{checkpoints[-1]}.json" if checkpoints and version is None else ""
    empty = next((name for name in commits if name > since and entries[name].stat().st_size == 0), None)
    if empty is not None:
        raise LakeError(f"a log of the table {folder}, whole", f"nothing in its entry {empty}", _REMEDY)
    if not commits and next(folder.glob("*.parquet"), None) is not None:
        raise LakeError(f"a log of the table {folder}", "none beside its rows", _REMEDY)
    if version is not None and commits and f"{version:020}.json" < commits[0]:
        raise LakeError(
            f"version {version} of the table {folder}",
            f"none from before {int(commits[0].partition('.')[0])}: they go where rows are erased, or need not be kept",
            "`driftwheel why` says when that was; what was derived from it cannot be derived again",
        )
    return bool(commits)


def require_files(folder: Path, table: DeltaTable) -> None:
    """Refuse a table of which a file is gone, not as long as it was written, or not Parquet at its ends.

    Raises
    ------
    LakeError
        If it is so.
    """
    known = pl.DataFrame(table.get_add_actions(flatten=True)).select("path", "size_bytes")
    for name, size in known.iter_rows():
        path = folder / unquote(name)
        try:
            with path.open("rb") as file:
                first = file.read(len(_MAGIC))
                found = file.seek(0, os.SEEK_END)
                file.seek(-min(found, len(_MAGIC)), os.SEEK_END)
                last = file.read()
        except FileNotFoundError:
            raise LakeError(f"the file {name} of the table {folder}", "none", _REMEDY) from None
        if found != size:
            raise LakeError(f"{size} bytes in the file {name} of the table {folder}", f"{found}", _REMEDY)
        if not first == last == _MAGIC:
            raise LakeError(f"Parquet in the file {name} of the table {folder}", "something else", _REMEDY)


def require_room(folder: Path, frame: pl.DataFrame) -> None:
    """Refuse to begin to write where there is no room for it: deltalake would panic in the middle.

    Raises
    ------
    StorageError
        If there is none, or nothing may be written.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not os.access(there, os.W_OK):
        raise StorageError(
            f"to write to the lake in {there}",
            "this user may not, or its disk is mounted for reading only",
            "Let the user that runs this write there, or set DRIFTWHEEL_LAKE to another folder",
        )
    needed, free = _MIN_FREE + int(frame.estimated_size()) // _COMPRESSION, shutil.disk_usage(there).free
    if free < needed:
        raise StorageError(
            f"{needed / 1e6:.1f} MB free on the disk of the lake, {there}",
            f"{free / 1e6:.1f} MB",
            "Free some, or set DRIFTWHEEL_LAKE to another disk; nothing was written",
        )
