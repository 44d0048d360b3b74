"""Locks between processes of one machine; the kernel lets go of what a dead one held."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expectations.errors import BusyError, TurnTakenError
from tasks.stores.files import storing

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.01


@contextmanager
def alone(file: Path, other: str, *, wait: bool = True, seconds: float | None = None) -> Iterator[None]:
    """Hold a file's lock, which no other process does meanwhile.

    Parameters
    ----------
    other : str
        Who may hold it, in words.
    wait : bool
        Whether to wait for them to end.
    seconds : float, optional
        For how long; until they end where not given.

    Raises
    ------
    TurnTakenError
        If another process holds it and is not waited for.
    BusyError
        If another process holds it for longer than is waited.
    StorageError
        If there can be no such file.
    """
    with storing("lock", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise TurnTakenError("no other process at work", other, "Wait for it to end, then run again") from None
            if seconds is None:
                _log.warning("%s is at work; waiting for it to end", other)
                fcntl.flock(lock, fcntl.LOCK_EX)
            else:
                _await(lock.fileno(), file, other, seconds)
        yield


def _await(lock: int, file: Path, other: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BusyError(
                    f"the lock {file} free within {seconds:g} s",
                    f"{other} that holds it",
                    f"Wait until it ends, or find it (`fuser {file}`), then run again",
                ) from None
            time.sleep(_LOOK_SECONDS)
        else:
            return
