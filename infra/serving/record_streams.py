"""A segment of the journal: appended to, synced, closed."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tasks.stores.journal import CLOSED_SUFFIX, OPEN_SUFFIX

_log = logging.getLogger("driftwheel.serving")


class JournalUnwritableError(Exception):
    """The journal cannot be written; nothing may be acknowledged."""


Done = Callable[[JournalUnwritableError | None], None]
"""Called once: when records are as safe as the durability says, or with the reason why nothing of them was written."""


@dataclass
class RecordStream:
    """One kind of records of one use case."""

    folder: Path
    kind: str
    number: int = 0
    file: int | None = None
    size: int = 0
    opened: float = 0.0
    waiting: list[tuple[bytes, Done]] = field(default_factory=list)
    named: bool = False
    """Whether the file's name is safe too."""
    syncing: bool = False
    closing: bool = False
    unnamed: list[Path] = field(default_factory=list)
    """Segments that are closed and could not be renamed yet."""

    def path(self, suffix: str) -> Path:
        """Return where the segment that is written to lies, by the ending of its name."""
        return self.folder / f"{self.kind}-{self.number:08d}{suffix}"

    def write(self, content: bytes) -> None:
        """Append records, all of them or nothing.

        Raises
        ------
        OSError
        """
        if self.file is None:
            self.number += 1
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = os.open(self.path(OPEN_SUFFIX), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            self.named = False
            self.size, self.opened = 0, time.monotonic()
        written = os.write(self.file, content)
        if written < len(content):  # a disk that fills up: take the torn part back, acknowledge nothing
            self.take_back(self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += written

    def sync(self) -> None:
        """Wait for the disk; the folder too, once a file. Runs beside the event loop."""
        if self.file is not None:
            os.fdatasync(self.file)
            if not self.named:
                _sync_folder(self.folder)
                self.named = True

    def take_back(self, size: int) -> None:
        """Forget what was written beyond `size`: it could not be made safe, and is not acknowledged.

        Where the disk does not allow even that, the segment ends there, and the next record begins another.
        """
        if self.file is None:
            return
        try:
            os.ftruncate(self.file, size)
            self.size = size
        except OSError as error:
            _log.error("a segment ends early: %s", error.strerror)
            self.close_anyhow()

    def close(self) -> None:
        """End the segment: from now on it never changes."""
        if self.file is None:
            return
        if self.syncing:  # closed when what is on its way has arrived
            self.closing = True
            return
        handle, self.file = self.file, None
        os.close(handle)
        if self.size:
            self.unnamed.append(self.path(OPEN_SUFFIX))
            self.name()
        else:
            self.path(OPEN_SUFFIX).unlink(missing_ok=True)

    def name(self) -> None:
        """Give closed segments their last names, by which a harvest finds them."""
        while self.unnamed:
            with contextlib.suppress(FileNotFoundError):  # a replay's folder, removed with all it held
                self.unnamed[0].rename(self.unnamed[0].with_suffix(CLOSED_SUFFIX))
            del self.unnamed[0]

    def close_anyhow(self) -> None:
        """Close; where a file cannot get its last name now, it gets it later."""
        try:
            self.close()
            self.name()
        except OSError as error:
            _log.error("a segment cannot be closed: %s", error.strerror)


def _sync_folder(folder: Path) -> None:
    """Make a new file's name safe against a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
