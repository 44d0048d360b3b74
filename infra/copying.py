"""Copies a backup is made of: files and folders as they stand, databases as their own tool dumps them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from expectations.errors import BackupError, BusyError
from tasks.stores.engines import connect_to_read

_BUSY_SECONDS = 10.0


def files_of(folder: Path) -> Iterator[Path]:
    """Everything in a folder but folders; also what is no file, which a backup never holds."""
    return (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times, into a folder that is made for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def copy_tree(source: Path, target: Path, but: str = "") -> None:
    """Copy files, not what is hidden; those that go meanwhile (a harvest removes segments) are left out.

    Links are followed: what they stand for is in the backup.

    Raises
    ------
    BackupError
        If there is a link that leads nowhere, or in a circle.
    """
    for root, names in walk_tree(source, but):
        for name in names:
            path = root / name
            try:
                copy_file(path, target / path.relative_to(source))
            except FileNotFoundError:
                if path.is_symlink():
                    raise _astray(path, "nowhere") from None


def walk_tree(source: Path, but: str = "") -> Iterator[tuple[Path, list[str]]]:
    """Walk a tree and the links in it; what cannot be read is an error, not left out."""
    if source.is_symlink() and not source.exists():
        raise _astray(source, "nowhere")
    for root, folders, names in os.walk(source, onerror=_raise, followlinks=True):
        path = Path(root)
        if path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()):
            raise _astray(path, "to a folder it lies in")
        folders[:] = [name for name in folders if name != but and not name.startswith(".")]
        yield path, [name for name in names if name != but and not name.startswith(".")]


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # gone meanwhile, or never there
        raise error


def _astray(link: Path, where: str) -> BackupError:
    return BackupError(
        f"files and folders below {link.parent}",
        f"the link {link.name}, which leads {where}",
        "Put in its place what it stands for, or remove it, and back up again",
    )


@contextmanager
def reading_database(path: Path) -> Iterator[None]:
    """Turn what SQLite says about a database into a `BackupError`."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise _busy(path) from error
        damaged = code in (0, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
        raise BackupError(
            f"a database in {path} that can be copied",
            f"{'it is damaged' if damaged else 'a fault of its disk'}: {error}",
            "Restore an earlier backup elsewhere and compare; this home cannot be saved as it is"
            if damaged
            else "Free some room on its disk and where the backup goes, or look at the system's log",
        ) from error


def _busy(path: Path) -> BusyError:
    return BusyError(
        f"the database {path} free within {_BUSY_SECONDS:g} s",
        "another process that holds it locked",
        f"Wait until it ends, or find it (`fuser {path}`), then back up again",
    )


def dump_sqlite(source: Path, target: Path) -> None:
    """Dump a database that is in use by SQLite's online backup, and look at the copy: a damaged one is none."""
    if not source.exists():
        if source.is_symlink():
            raise _astray(source, "nowhere")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _BUSY_SECONDS

    def watch(status: int, *_: int) -> None:
        nonlocal deadline
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            deadline = time.monotonic() + _BUSY_SECONDS
        elif time.monotonic() > deadline:  # SQLite itself would try for ever
            raise _busy(source)

    with reading_database(source), closing(connect_to_read(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy, progress=watch)
        found = copy.execute("pragma quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found.splitlines()[-1])
