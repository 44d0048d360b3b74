"""The journal's writing side: what is answered was written before.

Lines gathered in one tick of the event loop are appended by one write, and every answer waits for its own: the
process may die at any instant and nothing it acknowledged is lost. A segment is ``KIND-NUMBER.open`` while it grows and
``KIND-NUMBER.jsonl`` once closed; closed ones never change. Each process writes to a folder of its own and holds a
lock on it, so that its successor can tell a dead one's open segments and close them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tasks.stores.journal import CLOSED_SUFFIX, OPEN_SUFFIX

SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENT_SECONDS = 60.0
_LOCKS = ".locks"


class JournalUnwritableError(Exception):
    """The journal cannot be written; nothing may be acknowledged."""


@dataclass
class _Stream:
    """One kind of lines of one use case."""

    folder: Path
    kind: str
    number: int = 0
    file: int | None = None
    size: int = 0
    opened: float = 0.0
    waiting: list[tuple[bytes, asyncio.Future[None]]] = field(default_factory=list)

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.kind}-{self.number:08d}{suffix}"

    def write(self, content: bytes) -> None:
        if self.file is None:
            self.number += 1
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = os.open(self.path(OPEN_SUFFIX), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            self.size, self.opened = 0, time.monotonic()
        written = os.write(self.file, content)
        if written < len(content):  # a disk that fills up: take the torn part back, acknowledge nothing
            os.ftruncate(self.file, self.size)
            raise OSError(28, "the disk took only a part of the line")
        self.size += written

    def close(self) -> None:
        if self.file is None:
            return
        os.close(self.file)
        self.file = None
        if not self.path(OPEN_SUFFIX).exists():  # a replay's folder, removed with all it held
            return
        if self.size:
            self.path(OPEN_SUFFIX).rename(self.path(CLOSED_SUFFIX))
        else:
            self.path(OPEN_SUFFIX).unlink(missing_ok=True)


class Journal:
    """Appends lines durably against the death of this process.

    Parameters
    ----------
    root : Path
        ``root/NAME/INSTANCE/SEGMENT``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.instance = f"{int(time.time()):x}-{uuid.uuid4().hex[:8]}"
        self._streams: dict[tuple[str, str], _Stream] = {}
        locks = root / _LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        unnamed = locks / f".{self.instance}"  # locked before it has its name, so nobody takes it for a dead one's
        self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(locks / self.instance)
        self.adopt()

    def adopt(self) -> int:
        """Close the open segments of processes that are dead; returns how many."""
        closed = 0
        for lock in (self.root / _LOCKS).iterdir():
            if lock.name == self.instance or lock.name.startswith("."):
                continue
            try:
                handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:  # another successor was quicker
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # alive
                os.close(handle)
                continue
            for segment in self.root.glob(f"*/{lock.name}/*{OPEN_SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):
                    segment.rename(segment.with_suffix(CLOSED_SUFFIX))
                    closed += 1
            lock.unlink(missing_ok=True)
            os.close(handle)
        return closed

    async def append(self, usecase: str, kind: str, content: bytes) -> None:
        """Append complete lines and return once they are written.

        Raises
        ------
        JournalUnwritableError
            If they could not be; then nothing of them is in the journal.
        """
        stream = self._streams.get((usecase, kind))
        if stream is None:
            stream = self._streams.setdefault((usecase, kind), _Stream(self.root / usecase / self.instance, kind))
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not stream.waiting:
            loop.call_soon(self._flush, stream)
        stream.waiting.append((content, done))
        await done

    def _flush(self, stream: _Stream) -> None:
        waiting, stream.waiting = stream.waiting, []
        try:
            stream.write(b"".join(content for content, _ in waiting))
        except OSError as error:
            for _, done in waiting:
                if not done.cancelled():
                    done.set_exception(JournalUnwritableError(f"{error.strerror} ({stream.folder})"))
            return
        for _, done in waiting:
            if not done.cancelled():
                done.set_result(None)
        if stream.size >= SEGMENT_BYTES:
            stream.close()

    def close_old(self) -> None:
        """Close segments that have been open long enough."""
        for stream in self._streams.values():
            if stream.file is not None and time.monotonic() - stream.opened >= SEGMENT_SECONDS:
                stream.close()

    def seal(self, usecase: str | None = None) -> None:
        """Close every open segment, of one use case or of all, so that a harvest finds all that was answered."""
        for (name, _), stream in self._streams.items():
            if usecase is None or name == usecase:
                stream.close()

    def open_bytes(self) -> int:
        """Bytes in open segments: what a harvest would not see yet."""
        return sum(stream.size for stream in self._streams.values() if stream.file is not None)

    def close(self) -> None:
        """Close everything at the end of the process."""
        self.seal()
        (self.root / _LOCKS / self.instance).unlink(missing_ok=True)
        os.close(self._lock)
