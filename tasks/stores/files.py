"""What the system says about a file or a folder, in words a person can act on."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from expectations.errors import StorageError

_NO_ROOM = "Free some room on that disk, or use another one; then run it again"
_NOT_PERMITTED = "Let the user that runs this read and write it, or use a folder of that user"
_IN_THE_WAY = "Move what is in the way, or give another path"
_REMEDIES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: "Raise the limit on the size of files (`ulimit -f`)",
    errno.EROFS: "Mount that disk for writing, or use a folder on another one",
    errno.EACCES: _NOT_PERMITTED,
    errno.EPERM: _NOT_PERMITTED,
    errno.ENOENT: "Check the path: a folder of it may be gone, or its disk not mounted",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.EMFILE: "Raise the limit on open files (`ulimit -n`)",
    errno.EIO: "Look at the system's log: the disk may be failing",
}

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def storing(task: str, path: Path | str) -> Iterator[None]:
    """Turn what the system says about a file into a `StorageError`.

    Parameters
    ----------
    task : str
        What is done, as a verb: ``"write the keys to"``.
    path : Path or str
        What it is done to.

    Raises
    ------
    StorageError
        For every `OSError` of the block.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(task, path, error) from error


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for as long as the block lasts.

    Raises
    ------
    StorageError
        If none can be made.
    """
    with storing("make a folder of the moment in", "TMPDIR"):
        made = TemporaryDirectory(prefix="driftwheel-")
    with made as name:
        yield Path(name)


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Hold a file or folder that was just made and holds nothing yet, so that it is not taken for abandoned.

    The kernel lets go of it when this process dies.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove files and folders that processes left half-written when they were killed (`unfinished`).

    Empty ones stay: their process may be about to hold them.
    """
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = path.is_dir()
            if any(path.iterdir()) if folder else path.stat().st_size:
                shutil.rmtree(path) if folder else path.unlink()
        except (BlockingIOError, FileNotFoundError):  # somebody writes it, or removed it just now
            continue
        finally:
            os.close(handle)


def remove_abandoned_in(parent: str, prefix: str) -> None:
    """Remove the abandoned folders of a kind below another; another user's are let be, also by root."""
    for each in Path(parent).glob(f"{prefix}*"):
        with suppress(OSError):  # what is about to end still writes there: the next one removes it
            if each.lstat().st_uid == os.getuid():
                remove_abandoned([each])


def storage_error(task: str, path: Path | str, error: OSError) -> StorageError:
    """Say what could not be done, where, and what to do about it."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:  # of a whole tree: the first file counts
        source, _, reason = error.args[0][0]
        found = _ERRNO.search(str(reason))
        number = int(found[1]) if found else 0
        return _error(task, path, f"{os.strerror(number) if number else reason}: {source}", number)
    said = (error.strerror or str(error) or type(error).__name__).strip()
    if error.filename and str(error.filename) != str(path):
        said += f": {error.filename}"
    return _error(task, path, said, error.errno or 0)


def storage_error_in(task: str, path: Path | str, said: str) -> StorageError | None:
    """Return the fault of the disk that a library of Rust's names in its message; None where it names another one."""
    number = _OS_ERROR.search(said)
    return None if number is None else _error(task, path, os.strerror(int(number[1])), int(number[1]))


def _error(task: str, path: Path | str, said: str, number: int) -> StorageError:
    remedy = _REMEDIES.get(number, "See what the system says about it")
    return StorageError(f"to {task} {path}", f"{said[:1].lower()}{said[1:]}", remedy)
