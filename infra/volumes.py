"""How much a home holds, and whether the volume it lies on is encrypted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ENCRYPTED_TYPES = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs"})
_LUKS = "CRYPT-"


def size_of(path: Path) -> int:
    """Bytes that the files at or below a path take on disk; what goes away meanwhile counts nothing."""
    total, waiting = 0, [path]
    while waiting:
        try:
            found = waiting.pop()
            state = found.lstat()
            total += state.st_blocks * 512
            if found.is_dir() and not found.is_symlink():
                waiting += list(found.iterdir())
        except (FileNotFoundError, PermissionError):
            continue
    return total


def encrypted(
    path: Path, *, mounts: Path = Path("/proc/self/mountinfo"), blocks: Path = Path("/sys/dev/block")
) -> bool:
    """Whether the volume a path lies on is encrypted, as far as Linux shows.

    True for LUKS and dm-crypt, also below LVM, and for encrypting file systems. A disk that encrypts itself, a virtual
    machine's host and the folders of fscrypt do not show.

    Raises
    ------
    FileNotFoundError
        If this system has no such tables.
    """
    device, kind = _mount_of(path.resolve(), mounts)
    return kind in _ENCRYPTED_TYPES or any(uuid.startswith(_LUKS) for uuid in _mappings(blocks / device))


def _mount_of(path: Path, mounts: Path) -> tuple[str, str]:
    """Return MAJOR:MINOR of the device, and the file system, of the mount that holds a path."""
    best, found = -1, ("", "")
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, more = line.partition(" - ")
        _, _, device, _, point, *_ = fields.split()
        kind, source, *_ = more.split()
        point = point.encode("latin-1", "surrogateescape").decode("unicode_escape")  # blanks are \040
        if path.is_relative_to(point) and len(point) >= best:
            best = len(point)
            if source.startswith("/dev/") and Path(source).exists():  # btrfs has a number of its own
                number = Path(source).stat().st_rdev
                device = f"{os.major(number)}:{os.minor(number)}"
            found = (device, kind)
    return found


def _mappings(block: Path) -> Iterator[str]:
    """Yield the device mapper's names for a device and for all it is made of."""
    name = block / "dm" / "uuid"
    if name.exists():
        yield name.read_text(encoding="ascii")
    for below in (block / "slaves").glob("*"):
        yield from _mappings(below)
