"""What a backup says of itself, and whether its files are those it was made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from expectations.errors import BackupError
from infra.copying import files_of
from tasks.stores.files import storing
from tasks.stores.hashing import hash_file

MANIFEST = "backup.json"
FORMAT = 2
MAX_VERSION = 40
"""Characters of what a foreign backup says of itself that are shown."""


class BackupManifest(BaseModel):
    """What ``backup.json`` says: what the backup is of, and the SHA-256 of each of its files."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: int
    kind: str
    driftwheel: str
    made: datetime
    files: dict[str, str]
    elsewhere: tuple[str, ...]


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
    with storing("read the backup in", folder):
        manifest = read_manifest(folder, kind)
        there = {str(each.relative_to(folder)): each.is_file() and not each.is_symlink() for each in files_of(folder)}
        known = manifest.files
        odd = {name for name, plain in there.items() if not plain}
        wrong = sorted((set(there) - {MANIFEST}) ^ set(known) | odd) or sorted(
            name for name, digest in known.items() if hash_file(folder / name) != digest
        )
        size = 0 if wrong else sum((folder / name).stat().st_size for name in known)
    if wrong:
        raise BackupError(
            f"the {len(known)} files of the backup as they were",
            f"{len(wrong)} missing, altered or added, {wrong[0]} first",
            "Use another backup",
        )
    return Backup(folder, len(known), size, manifest.made, manifest.elsewhere)


def read_manifest(folder: Path, kind: str) -> BackupManifest:
    """Read what a backup says it is.

    Raises
    ------
    BackupError
        If it is damaged, of another format, or of another kind.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise BackupError(f"a backup in {folder}", f"no {MANIFEST}", "Name the folder `driftwheel backup` made")
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise _foreign(content.get("format"), content.get("driftwheel"))
        manifest = BackupManifest.model_validate_json(json.dumps(content))
    except (ValidationError, ValueError, RecursionError) as error:
        raise BackupError(
            f"the list of the backup's files in {path}", "something else: it is damaged", "Use another backup"
        ) from error
    if manifest.kind != kind:
        stack = "stack " if manifest.kind == "stack" else ""
        raise BackupError(f"a backup of a {kind}", f"one of a {manifest.kind}", f"`driftwheel {stack}restore` takes it")
    return manifest


def _foreign(number: object, maker: object) -> BackupError:
    """Say that a backup is of an older or a newer driftwheel."""
    newer = isinstance(number, int) and number > FORMAT
    maker = f" by driftwheel {maker}" if isinstance(maker, str) and len(maker) < MAX_VERSION else ""
    return BackupError(
        f"a backup of format {FORMAT}, which driftwheel {version('driftwheel')} reads",
        f"format {str(number)[:MAX_VERSION]}, made{maker}",
        "Update driftwheel to that version, or a newer one, and restore it then"
        if newer
        else "Restore it with the driftwheel that made it, and back up from there with this one",
    )
