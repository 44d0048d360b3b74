"""Backup and restore of an embedded home.

A backup needs no standstill. What it copies is either a database, dumped by its own tool, or files that are only ever
added. Copied in the order below, it is the state a crash at that moment would have left, and from that every stage
heals: each does its work exactly once however often it is begun.

1. the journal (before the lake: a segment that is in both is known to be committed and only removed)
2. the platform database
3. desired states (after the platform: a release that had begun is finished by its rerun)
4. the databases of MLflow and Prefect (after the desired states: what is served is registered)
5. the lake, each table's log before its files (a log never names a file that was not there)
6. bundles, artifacts, reports, keys, the folders of use cases
"""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from expectations.errors import BackupError, DatabaseError
from expectations.loading import SHIPPED
from infra.backup_manifest import FORMAT, MANIFEST, Backup, verify
from infra.copying import copy_file, copy_tree, dump_sqlite, files_of, reading_database, walk_tree
from tasks.stores.engines import upgrade_file
from tasks.stores.files import remove_abandoned, storing, unfinished
from tasks.stores.hashing import hash_file
from tasks.stores.personal_keys import PERSONAL_KEYS
from tasks.stores.tables import metadata

KIND: Final = "home"
_PLATFORM = "platform.db"
_DATABASES_FIRST = (_PLATFORM,)
_DATABASES_LATER = ("mlflow.db", "prefect/prefect.db")
_SECRETS = ("privacy.key", PERSONAL_KEYS, "service.key", "keys.json")
_RELATIVE_TO_HOME = "home"
USE_CASES = "usecases"
"""Folder of a restored home that holds use cases whose own folders are gone."""


def back_up(home: Path, target: Path) -> Backup:
    """Copy a home into a new folder below `target`; the stack may be up and at work.

    Raises
    ------
    BackupError
        If there is nothing to back up, a part of it is damaged or gone, or the target lies inside the home.
    BusyError
        If another process holds a database for too long.
    StorageError
        If something cannot be read, or the target does not take it; then nothing of the backup is left.
    """
    platform = home / _PLATFORM
    if not platform.exists() or not platform.stat().st_size:
        raise BackupError(
            f"a home of driftwheel in {home}", "no platform.db", "Set DRIFTWHEEL_HOME, or turn a loop first"
        )
    if target.resolve().is_relative_to(home.resolve()):
        raise BackupError(
            "a target outside the home", str(target), "Back up to another disk, or at least another folder"
        )
    made = datetime.now(UTC)
    with new_folder(target, "driftwheel", made) as folder:
        _copy_home(home, folder.beside / _RELATIVE_TO_HOME)
        files = {str(path.relative_to(folder.beside)): hash_file(path) for path in files_of(folder.beside)}
        size = sum((folder.beside / name).stat().st_size for name in files)
        manifest = {
            "format": FORMAT,
            "kind": KIND,
            "driftwheel": version("driftwheel"),
            "made": made.isoformat(),
            "files": files,
            "elsewhere": [],
        }
        (folder.beside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return Backup(folder.path, len(files), size, made)


@dataclass(frozen=True)
class NewFolder:
    """Folder of a backup: where it is written, and what it is called once it is whole."""

    beside: Path
    path: Path


@contextmanager
def new_folder(target: Path, name: str, made: datetime) -> Iterator[NewFolder]:
    """Give a backup a folder below `target` that no other has, also in the same second; visible once it is whole.

    What earlier backups left half-written when they were killed is removed: it holds keys, and takes room.

    Raises
    ------
    StorageError
        If the target does not take it; then nothing of it is left.
    """
    stem = f"{name}-{made:%Y%m%dT%H%M%SZ}"
    with storing("back up to", target):
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_abandoned(target.glob(f".{name}-2*.part"))
        for number in itertools.count(1):
            path = target / (stem if number == 1 else f"{stem}-{number}")
            beside = target / f".{path.name}.part"
            try:
                beside.mkdir(mode=0o700)
            except FileExistsError:
                continue
            if not path.exists():  # looked at only now: another one may just have become whole
                break
            beside.rmdir()
        with unfinished(beside):
            try:
                yield NewFolder(beside, path)
                beside.rename(path)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise


def _copy_home(home: Path, copy: Path) -> None:
    copy.mkdir(mode=0o700)
    copy_tree(home / "journal", copy / "journal")
    for name in _DATABASES_FIRST:
        dump_sqlite(home / name, copy / name)
    for desired in sorted((home / "releases").glob("*/desired.json")):
        copy_file(desired, copy / desired.relative_to(home))
    for name in _DATABASES_LATER:
        dump_sqlite(home / name, copy / name)
    for log in sorted(root for root, _ in walk_tree(home / "lake") if root.name == "_delta_log"):
        copy_tree(log, copy / log.relative_to(home))
    copy_tree(home / "lake", copy / "lake", but="_delta_log")
    copy_tree(home / "releases", copy / "releases", but="desired.json")
    for name in ("artifacts", "reports", "replays"):
        copy_tree(home / name, copy / name)
    for name in _SECRETS:
        if (home / name).exists():
            copy_file(home / name, copy / name)
    _copy_use_cases(copy)


def _copy_use_cases(copy: Path) -> None:
    """Copy the folders of use cases, which may lie anywhere; those shipped with us are in every checkout."""
    for name, folder in _use_cases(copy / _PLATFORM).items():
        if folder.is_dir() and not folder.resolve().is_relative_to(SHIPPED.resolve()):
            copy_tree(folder, copy / USE_CASES / name, but="__pycache__")


def _use_cases(platform: Path) -> dict[str, Path]:
    with reading_database(platform), closing(sqlite3.connect(platform)) as database:
        return {name: Path(folder) for name, folder in database.execute("select name, folder from use_cases")}


def _bring_back_use_cases(beside: Path, home: Path) -> None:
    """Let use cases whose folder is no more be read from the copy in the home."""
    with reading_database(beside / _PLATFORM), closing(sqlite3.connect(beside / _PLATFORM)) as database, database:
        for name, folder in _use_cases(beside / _PLATFORM).items():
            if (beside / USE_CASES / name).is_dir() and not (folder / "usecase.yaml").exists():
                there = str(home / USE_CASES / name)
                database.execute("update use_cases set folder = ? where name = ?", (there, name))


def _check_tables(platform: Path) -> None:
    """Bring a platform database to the present version, and refuse what is none then: each command would miss it.

    Raises
    ------
    BackupError
        If a later version wrote it, or a table lacks a column.
    """
    try:
        upgrade_file(platform, metadata)
    except DatabaseError as error:
        raise BackupError(error.expected, error.found, "Restore it with the driftwheel that made it") from error
    with reading_database(platform), closing(sqlite3.connect(platform)) as database:
        for table in metadata.sorted_tables:
            known = {name for _, name, *_ in database.execute(f"pragma table_info({table.name})")}
            absent = [column.name for column in table.columns if column.name not in known]
            if known and absent:
                raise BackupError(
                    f"a platform database that driftwheel {version('driftwheel')} reads",
                    f"one of another version: its table {table.name} has no {absent[0]}",
                    "Restore it with the driftwheel that made it (see `driftwheel` in its backup.json)",
                )


def restore(folder: Path, home: Path) -> Backup:
    """Bring a verified backup back into a home that holds nothing.

    Raises
    ------
    BackupError
        If the backup is damaged or of another version, or the home is not empty.
    StorageError
        If the home's disk does not take it; then nothing of it is left.
    """
    found, home = verify(folder, KIND), home.resolve()
    with storing("restore into", home):
        if home.exists() and (not home.is_dir() or any(home.iterdir())):
            raise BackupError(
                f"an empty home at {home}", "files in it", "Move it away, or set DRIFTWHEEL_HOME to a new folder"
            )
        beside = home.with_name(f".{home.name}.restoring")
        if beside.exists():
            shutil.rmtree(beside)
        try:
            shutil.copytree(folder / _RELATIVE_TO_HOME, beside)
            beside.chmod(0o700)
            _check_tables(beside / _PLATFORM)
            _bring_back_use_cases(beside, home)
            if home.exists():
                home.rmdir()
            beside.rename(home)
        except BaseException:  # half a home holds keys, and room
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return found
