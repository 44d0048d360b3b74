"""Files that are packed, and archives of files: read within limits, whatever they claim to hold."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO

from fsspec.utils import infer_compression

from expectations.errors import SourceError
from expectations.masking import mask

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
CHUNK = 2**20
MEGABYTE = 10**6
DAMAGED = (EOFError, OSError, ValueError, IndexError, RuntimeError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)


def file_name(address: str) -> str:
    """Return the last part of an address, without a login or a token."""
    return PurePosixPath(mask(address).partition("?")[0]).name


def members(name: str, address: str, content: bytes, max_megabytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an archive in order of their names, each with its name; a file that is none itself.

    What macOS and Windows put beside them is left out.

    Raises
    ------
    SourceError
        If it is damaged, holds no file, or more than `max_megabytes`.
    """
    unpack = _zipped if _is_zip(content) else _tarred if content[257:262] == b"ustar" else None
    if unpack is None and packing_of(address) == "zip":
        raise damaged(name, address, ValueError("no zip file"))
    if unpack is None:
        yield file_name(address), content
        return
    size, found = 0, False
    try:
        for member, file in unpack(content):
            if member.startswith("__MACOSX/") or PurePosixPath(member).name.startswith(
                ("._", ".DS_Store", "Thumbs.db")
            ):
                continue
            whole = read_whole(name, address, max_megabytes - size // MEGABYTE, file)
            size += len(whole)
            found = True
            yield f"{file_name(address)}/{member}", whole
    except (*DAMAGED, tarfile.TarError, NotImplementedError) as error:
        raise damaged(name, address, error) from error
    if not found:
        raise damaged(name, address, ValueError("no file in it"))


def _is_zip(content: bytes) -> bool:
    """Whether it is an archive of files: what Office writes is one, too, and yet one document."""
    return (
        content.startswith(_ZIP)
        and b"[Content_Types].xml" not in content[:CHUNK]
        and zipfile.is_zipfile(io.BytesIO(content))
    )


def _zipped(content: bytes) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for each in sorted(archive.infolist(), key=lambda one: one.filename):
            if not each.is_dir():
                with archive.open(each) as file:
                    yield each.filename, file


def _tarred(content: bytes) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for each in sorted(archive.getmembers(), key=lambda one: one.name):
            file = archive.extractfile(each) if each.isfile() else None
            if file is not None:
                yield each.name, file


def packing_of(address: str) -> str | None:
    """Return how a file is packed, by its name."""
    packed: str | None = infer_compression(address.partition("::")[0] if "://" in address else address)
    return packed


def compression_of(address: str) -> str | None:
    """Return how a file is unpacked where it is read; archives are opened by `members`."""
    packed = packing_of(address)
    return None if packed == "zip" else packed


def damaged(name: str, address: str, error: Exception) -> SourceError:
    """Return what to say of a file that cannot be opened or unpacked."""
    if isinstance(error, RuntimeError) and "encrypted" in str(error):
        return SourceError(
            f"a file that can be read for the source {name!r}",
            f"{file_name(address)} asks for a password",
            "Unpack it beforehand, or have it delivered without one",
        )
    if isinstance(error, OSError) and error.errno is not None:  # the system's own
        return SourceError(
            f"a file of data that can be opened for the source {name!r}",
            f"{file_name(address)}: {error.strerror}",
            "Check the path, and who may read it",
        )
    return SourceError(
        f"a readable file for the source {name!r}",
        f"{file_name(address)} is cut short or damaged ({error})",
        "Fetch the file again",
    )


def read_whole(
    name: str, address: str, max_megabytes: int, file: IO[bytes], stop: Callable[[], bool] = lambda: False
) -> bytes:
    """Read a file that is open, until `stop` is called.

    Raises
    ------
    SourceError
        If it is larger than `max_megabytes`.
    """
    parts, size = [], 0
    while not stop() and (part := file.read(CHUNK)):
        size += len(part)
        if size > max_megabytes * MEGABYTE:
            raise SourceError(
                f"at most {max_megabytes:,} MB from the source {name!r}, unpacked",
                f"more at {mask(address)}",
                "Check what it is; if it is right, raise `max_megabytes` of the source",
            )
        parts.append(part)
    return b"".join(parts)
