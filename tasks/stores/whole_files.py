"""Files and folders that are seen whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.stores.files import remove_abandoned, unfinished

_BESIDE = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}")
"""Names of bundles that are being copied in."""


def name_beside(target: Path) -> Path:
    """Return a hidden name of its own beside a bundle."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")


@contextmanager
def copied(folder: Path, target: Path) -> Iterator[Path]:
    """Copy a bundle beside where it is to be, for the block to move it there.

    A copy that is not moved is removed, if need be by the next one.
    """
    own = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}")
    beside = (path for path in target.parent.glob(".*") if own.fullmatch(path.name) or _BESIDE.fullmatch(path.name))
    remove_abandoned(beside)
    copy = name_beside(target)
    copy.mkdir()
    with unfinished(copy):
        try:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            yield copy
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def replace_file(path: Path, content: str | bytes, mode: int | None = 0o666) -> None:
    """Write a file so that readers see the old or the new one, never a part, also after a power cut.

    Parameters
    ----------
    mode : int or None
        Who may read and write it, less what the process's mask takes away: so from its first byte on. None where the
        file is there, and its permissions stay.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        first = 0o600 if mode is None else mode
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, first), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if mode is None:
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:  # half a file is of no use, and nobody would remove it
        beside.unlink(missing_ok=True)
        raise
