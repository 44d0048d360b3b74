"""The journal's writing side: what is answered was written before.

Records are written before the answer goes out: the process may die at any instant and nothing it acknowledged is lost.
What comes in one turn of the event loop is written at once, and its answers go out together: waking a client that
waits costs more than a row does. With durability ``power`` the answers wait for the disk as well, one sync for all that
gathered meanwhile.

A segment is ``KIND-NUMBER.open`` while it grows and ``KIND-NUMBER.msgpack`` once closed; closed ones never change. Each
process writes to a folder of its own and holds a lock on it, so that its successor can find a dead one's open segments
and close them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from infra.serving.record_streams import Done, JournalUnwritableError, RecordStream
from tasks.stores.files import storing
from tasks.stores.journal import CLOSED_SUFFIX, OPEN_SUFFIX

SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENT_SECONDS = 60.0
_LOCKS = ".locks"
_log = logging.getLogger("driftwheel.serving")
_PROBE_BYTES = 64 * 1024


Durability = Literal["process", "power", "off"]
"""What a record survives before its answer goes out: the death of the process; a power cut too; neither."""


class Journal:
    """Appends records durably against the death of this process.

    Parameters
    ----------
    root : Path
        ``root/NAME/INSTANCE/SEGMENT``.
    durability : {"process", "power", "off"}
        ``power`` waits for ``fdatasync``, one for all that gathered meanwhile. ``off`` writes nothing.

    Attributes
    ----------
    trouble : str
        Why nothing can be written at present; empty when all is well.

    Raises
    ------
    StorageError
        If the folder cannot be made, or nothing be written there.
    """

    def __init__(self, root: Path, durability: Durability = "process") -> None:
        self.root, self.durability = root, durability
        self.trouble = ""
        self._disk = ThreadPoolExecutor(1, "journal")
        self.instance = f"{int(time.time()):x}-{uuid.uuid4().hex[:8]}"
        self._streams: dict[tuple[str, str], RecordStream] = {}
        locks = root / _LOCKS
        with storing("keep the journal in", root):
            locks.mkdir(parents=True, exist_ok=True)
            unnamed = locks / f".{self.instance}"  # locked before it has its name, so nobody takes it for a dead one's
            self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            unnamed.rename(locks / self.instance)
        self.adopt()

    @property
    def writes(self) -> bool:
        """Whether what is submitted is written; else it need not be made."""
        return self.durability != "off"

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
            closed += self._close_segments(lock.name)
            lock.unlink(missing_ok=True)
            os.close(handle)
        return closed

    def _close_segments(self, instance: str) -> int:
        closed = 0
        for segment in self.root.glob(f"*/{instance}/*{OPEN_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                segment.rename(segment.with_suffix(CLOSED_SUFFIX))
                closed += 1
        return closed

    def submit(self, usecase: str, kind: str, content: bytes, done: Done) -> None:
        """Append whole records, together with all that come in this turn of the event loop."""
        stream = self._stream(usecase, kind)
        if not stream.waiting and not stream.syncing:
            asyncio.get_running_loop().call_soon(self._flush, stream)
        stream.waiting.append((content, done))

    async def append(self, usecase: str, kind: str, content: bytes) -> None:
        """Append whole records and return once they are as safe as the durability says.

        Raises
        ------
        JournalUnwritableError
            If they could not be; then nothing of them is in the journal, unless the disk refused even to take back
            what could not be made safe.
        """
        waits: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: JournalUnwritableError | None) -> None:
            if waits.cancelled():
                return
            if error is None:
                waits.set_result(None)
            else:
                waits.set_exception(error)

        self.submit(usecase, kind, content, done)
        await waits

    def _stream(self, usecase: str, kind: str) -> RecordStream:
        stream = self._streams.get((usecase, kind))
        if stream is None:
            stream = self._streams.setdefault((usecase, kind), RecordStream(self.root / usecase / self.instance, kind))
        return stream

    def _flush(self, stream: RecordStream) -> None:
        """Write what gathered; with durability ``power`` what arrives during the sync gathers for the next."""
        if stream.syncing or not stream.waiting:
            return
        waiting, stream.waiting = stream.waiting, []
        if not self.writes:
            self._conclude(waiting, None)
            return
        before = stream.size if stream.file is not None else 0
        try:
            stream.write(waiting[0][0] if len(waiting) == 1 else b"".join(content for content, _ in waiting))
        except OSError as error:
            self._conclude(waiting, self._unwritable(stream, error))
            return
        if self.durability == "process":
            self._written(stream)
            self._conclude(waiting, None)
            return
        stream.syncing = True
        syncing = asyncio.get_running_loop().run_in_executor(self._disk, stream.sync)
        syncing.add_done_callback(lambda done: self._synced(stream, waiting, before, done))

    def _synced(
        self, stream: RecordStream, waiting: list[tuple[bytes, Done]], before: int, done: asyncio.Future[None]
    ) -> None:
        stream.syncing = False
        error = done.exception()
        if error is None:
            self._written(stream)
            self._conclude(waiting, None)
        else:
            stream.take_back(before)
            failed = error if isinstance(error, OSError) else OSError(errno.EIO, repr(error))
            self._conclude(waiting, self._unwritable(stream, failed))
        if stream.closing:
            stream.closing = False
            stream.close_anyhow()
        self._flush(stream)

    @staticmethod
    def _conclude(waiting: list[tuple[bytes, Done]], error: JournalUnwritableError | None) -> None:
        for _, done in waiting:
            try:
                done(error)
            except Exception:  # noqa: BLE001 - a fault of ours with one reply must not hold back the others
                _log.exception("a reply could not be handed over")

    def _written(self, stream: RecordStream) -> None:
        self.trouble = ""
        if stream.size >= SEGMENT_BYTES:
            stream.close_anyhow()

    def _unwritable(self, stream: RecordStream, error: OSError) -> JournalUnwritableError:
        self.trouble = f"{error.strerror} ({stream.folder})"
        return JournalUnwritableError(self.trouble)

    def probe(self) -> None:
        """Try to write where writing failed; `trouble` says how it went."""
        if not self.trouble:
            return
        beside = self.root / _LOCKS / f".probe-{self.instance}"
        try:
            beside.write_bytes(b"\0" * _PROBE_BYTES)
            for stream in self._streams.values():
                stream.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.trouble = f"{error.strerror} ({self.root})"
        else:
            self.trouble = ""
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)

    def close_old(self) -> None:
        """Close segments that have been open long enough."""
        for stream in self._streams.values():
            if stream.unnamed or (stream.file is not None and time.monotonic() - stream.opened >= SEGMENT_SECONDS):
                stream.close_anyhow()

    def seal(self, usecase: str | None = None) -> None:
        """Close every open segment, of one use case or of all, so that a harvest finds all that was answered."""
        for (name, _), stream in self._streams.items():
            if usecase is None or name == usecase:
                stream.close_anyhow()

    def closing(self) -> bool:
        """Whether a segment that is to be closed still waits for the disk."""
        return any(stream.closing or stream.unnamed for stream in self._streams.values())

    def open_bytes(self) -> int:
        """Bytes in open segments: what a harvest would not see yet."""
        return sum(stream.size for stream in self._streams.values() if stream.file is not None)

    def close(self) -> None:
        """Close everything at the end of the process."""
        self._disk.shutdown()
        for stream in self._streams.values():
            stream.syncing = False
        self.seal()
        self._close_segments(self.instance)
        (self.root / _LOCKS / self.instance).unlink(missing_ok=True)
        os.close(self._lock)
