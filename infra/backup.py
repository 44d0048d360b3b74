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

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from expectations.errors import BackupError
from expectations.loading import SHIPPED
from tasks.stores.hashing import hash_file

MANIFEST = "backup.json"
FORMAT = 2
KIND: Final = "home"
_PLATFORM = "platform.db"
_DATABASES_FIRST = (_PLATFORM,)
_DATABASES_LATER = ("mlflow.db", "prefect/prefect.db")
_SECRETS = ("privacy.key", "service.key", "keys.json")
_RELATIVE_TO_HOME = "home"
USE_CASES = "usecases"
"""Folder of a restored home that holds use cases whose own folders are gone."""


@dataclass(frozen=True)
class Backup:
    """A backup: its folder, how many files and bytes it holds, and when it was made.

    Attributes
    ----------
    elsewhere : tuple of str
        Addresses of what it does not hold: stores that have backups of their own.
    """

    folder: Path
    files: int
    size: int
    made: datetime
    elsewhere: tuple[str, ...] = ()


def back_up(home: Path, target: Path) -> Backup:
    """Copy a home into a new folder below `target`; the stack may be up and at work.

    Raises
    ------
    BackupError
        If there is nothing to back up, or the target lies inside the home.
    """
    if not (home / "platform.db").exists():
        raise BackupError(
            f"a home of driftwheel in {home}", "no platform.db", "Set DRIFTWHEEL_HOME, or turn a loop first"
        )
    if target.resolve().is_relative_to(home.resolve()):
        raise BackupError(
            "a target outside the home", str(target), "Back up to another disk, or at least another folder"
        )
    made = datetime.now(UTC)
    folder = target / f"driftwheel-{made:%Y%m%dT%H%M%SZ}"
    beside = folder.with_name(f".{folder.name}.part")
    beside.mkdir(parents=True, mode=0o700)
    try:
        _copy_home(home, beside / _RELATIVE_TO_HOME)
        files = {str(path.relative_to(beside)): hash_file(path) for path in _files(beside)}
        size = sum((beside / name).stat().st_size for name in files)
        manifest = {
            "format": FORMAT,
            "kind": KIND,
            "driftwheel": version("driftwheel"),
            "made": made.isoformat(),
            "files": files,
            "elsewhere": [],
        }
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        beside.rename(folder)
    except BaseException:  # half a backup holds keys, and room
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return Backup(folder, len(files), size, made)


def _copy_home(home: Path, copy: Path) -> None:
    copy.mkdir(mode=0o700)
    _copy_tree(home / "journal", copy / "journal")
    for name in _DATABASES_FIRST:
        _dump_sqlite(home / name, copy / name)
    for desired in sorted((home / "releases").glob("*/desired.json")):
        _copy(desired, copy / desired.relative_to(home))
    for name in _DATABASES_LATER:
        _dump_sqlite(home / name, copy / name)
    for log in sorted((home / "lake").glob("**/_delta_log")):
        _copy_tree(log, copy / log.relative_to(home))
    _copy_tree(home / "lake", copy / "lake", but="_delta_log")
    _copy_tree(home / "releases", copy / "releases", but="desired.json")
    for name in ("artifacts", "reports", "replays"):
        _copy_tree(home / name, copy / name)
    for name in _SECRETS:
        if (home / name).exists():
            _copy(home / name, copy / name)
    _copy_use_cases(copy)


def _copy_use_cases(copy: Path) -> None:
    """Copy the folders of use cases, which may lie anywhere; those shipped with us are in every checkout."""
    for name, folder in _use_cases(copy / _PLATFORM).items():
        if folder.is_dir() and not folder.resolve().is_relative_to(SHIPPED.resolve()):
            shutil.copytree(folder, copy / USE_CASES / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))


def _use_cases(platform: Path) -> dict[str, Path]:
    with closing(sqlite3.connect(platform)) as database:
        return {name: Path(folder) for name, folder in database.execute("select name, folder from use_cases")}


def _bring_back_use_cases(beside: Path, home: Path) -> None:
    """Let use cases whose folder is no more be read from the copy in the home."""
    with closing(sqlite3.connect(beside / _PLATFORM)) as database, database:
        for name, folder in _use_cases(beside / _PLATFORM).items():
            if (beside / USE_CASES / name).is_dir() and not (folder / "usecase.yaml").exists():
                there = str(home / USE_CASES / name)
                database.execute("update use_cases set folder = ? where name = ?", (there, name))


def verify(folder: Path, kind: str) -> Backup:
    """Hold every file of a backup against its hash.

    Parameters
    ----------
    kind : {"home", "stack"}
        What it must be of.

    Raises
    ------
    BackupError
        If a file is missing, altered or too many.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise BackupError(f"a backup in {folder}", f"no {MANIFEST}", "Name the folder `driftwheel backup` made")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise BackupError(
            f"a backup of format {FORMAT}",
            f"format {manifest.get('format')}",
            "Restore it with the driftwheel that made it",
        )
    if manifest["kind"] != kind:
        stack = "stack " if manifest["kind"] == "stack" else ""
        raise BackupError(
            f"a backup of a {kind}", f"one of a {manifest['kind']}", f"`driftwheel {stack}restore` takes it"
        )
    known: dict[str, str] = manifest["files"]
    present = {str(each.relative_to(folder)) for each in _files(folder)} - {MANIFEST}
    wrong = sorted(present ^ set(known)) or sorted(
        name for name, digest in known.items() if hash_file(folder / name) != digest
    )
    if wrong:
        raise BackupError(
            f"the {len(known)} files of the backup as they were",
            f"{len(wrong)} missing, altered or added, {wrong[0]} first",
            "Use another backup",
        )
    size = sum((folder / name).stat().st_size for name in known)
    return Backup(folder, len(known), size, datetime.fromisoformat(manifest["made"]), tuple(manifest["elsewhere"]))


def restore(folder: Path, home: Path) -> Backup:
    """Bring a verified backup back into a home that holds nothing.

    Raises
    ------
    BackupError
        If the backup is damaged, or the home is not empty.
    """
    found, home = verify(folder, KIND), home.resolve()
    if home.exists() and any(home.iterdir()):
        raise BackupError(
            f"an empty home at {home}", "files in it", "Move it away, or set DRIFTWHEEL_HOME to a new folder"
        )
    beside = home.with_name(f".{home.name}.restoring")
    if beside.exists():
        shutil.rmtree(beside)
    shutil.copytree(folder / _RELATIVE_TO_HOME, beside)
    beside.chmod(0o700)
    _bring_back_use_cases(beside, home)
    if home.exists():
        home.rmdir()
    beside.rename(home)
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _copy_tree(source: Path, target: Path, but: str = "") -> None:
    """Copy files; those that go meanwhile (a harvest removes segments) are left out."""
    for root, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in (but, ".locks")]
        for name in names:
            path = Path(root) / name
            if name != but and not name.startswith("."):
                try:
                    _copy(path, target / path.relative_to(source))
                except FileNotFoundError:
                    continue


def _dump_sqlite(source: Path, target: Path) -> None:
    """Dump a database that is in use by SQLite's online backup."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
