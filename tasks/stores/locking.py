"""Locks between processes of one machine; the kernel lets go of what a dead one held."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expectations.errors import TurnTakenError

_log = logging.getLogger(__name__)


@contextmanager
def alone(file: Path, other: str, *, wait: bool = True) -> Iterator[None]:
    """Hold a file's lock, which nobody else does meanwhile.

    Parameters
    ----------
    other : str
        Who may hold it, in words.
    wait : bool
        Whether to wait for them to end.

    Raises
    ------
    TurnTakenError
        If somebody holds it and nobody is waited for.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise TurnTakenError("nobody else at work", other, "Wait for it to end, then run again") from None
            _log.warning("%s is at work; waiting for it to end", other)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
