"""Open files that a use case names: regular ones alone, so that nothing blocks, never ends or starts a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_OF_THE_SYSTEM = (Path("/proc"), Path("/sys"))
"""What lies here looks like regular files; some hold secrets of this process, some have no end."""


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading; links are followed, and must lead to a regular file.

    Raises
    ------
    OSError
        If it is absent or unreadable, if it is a folder, a device, a pipe or a socket, or a file of the system's own.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name holds a NUL byte")
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(top) for top in _OF_THE_SYSTEM):
        raise OSError(errno.EACCES, "it is a file of the system, not of data")
    _check_kind(real.stat())  # before it is opened: to open a device may already do something
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _check_kind(os.fstat(descriptor))
    except OSError:
        file.close()
        raise
    return file


def _check_kind(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, "it is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, not a file")
