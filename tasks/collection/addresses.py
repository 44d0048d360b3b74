"""From the address a source declares to bytes: regular files of this machine, and stores elsewhere within limits.

Nothing of a package is imported to find its files. What an address holds of logins and tokens is in no message.
"""

from __future__ import annotations

import glob
import importlib.util
import lzma
import os
import threading
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO

import fsspec
from fsspec.compression import compr
from fsspec.utils import infer_compression

from expectations.durations import Duration
from expectations.errors import SourceError, SourceUnreachableError
from expectations.files import open_regular
from expectations.masking import mask

_HERE = ("file", "local")
_ELSEWHERE = frozenset(
    {"http", "https", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs", "hf", "github"}
    | {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"}
)
"""Protocols of fsspec that lead to another machine. Its others read memory, folders of this one, or code."""
_INSIDE = ("zip", "tar")
"""Those that look into a file of another address: ``zip://jan.csv::https://…``."""
_CHUNK = 2**20
_MEGABYTE = 10**6
_DAMAGED = (EOFError, OSError, ValueError, IndexError, RuntimeError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
_REFUSED = frozenset(range(400, 500)) - {408, 425, 429}
"""HTTP's statuses that the same request will get again."""


def locate_files(name: str, path: str, folder: Path) -> list[str]:
    """Return the addresses the path of the source `name` stands for, in order.

    Raises
    ------
    SourceError
        If no file matches, or the address is of a kind that is not read.
    """
    if is_elsewhere(name, path):
        return [path]
    local = local_path(path)
    if (folder / local).is_file():  # its name may hold a bracket
        return [str(folder / local)]
    # only what the use case says is a pattern, not the name of its folder
    found = glob.glob(local, root_dir=folder, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return _some(name, path, [str(folder / each) for each in sorted(found)])


def _some(name: str, path: str, found: list[str]) -> list[str]:
    if not found:
        raise SourceError(
            f"a file for the source {name!r}",
            f"nothing at {path}",
            "Check the path (relative ones start at the use case's folder)",
        )
    return found


def locate_in_package(name: str, package: str, path: str) -> list[str]:
    """Return where an installed package keeps a file; nothing of it is imported.

    Raises
    ------
    SourceError
        If it is not installed, or has no such file.
    """
    try:
        spec = importlib.util.find_spec(package)  # of a name without a dot: finds without importing
    except ValueError:  # a module of the interpreter's own
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(
            f"the package {package!r} of the source {name!r}",
            "it is not installed",
            f"pip install {package}",
        )
    found = [Path(root) / path for root in spec.submodule_search_locations]
    return _some(name, path, [str(each) for each in found if each.exists()])


def is_elsewhere(name: str, address: str) -> bool:
    """Whether an address is for fsspec to read, and not a path.

    Raises
    ------
    SourceError
        If it is of a kind that is not read.
    """
    if "://" not in address:
        return False
    *inside, last = address.split("::")
    protocol = last.partition("://")[0] if "://" in last else ""
    if any(link.partition("://")[0] not in _INSIDE for link in inside) or (
        protocol and protocol not in _HERE and protocol not in _ELSEWHERE
    ):
        raise SourceError(
            f"an address that can be read for the source {name!r}: a path, or {', '.join(sorted(_ELSEWHERE))}",
            mask(address),
            "Fetch the file by other means, and name its path",
        )
    return bool(inside) or protocol in _ELSEWHERE


def local_path(address: str) -> str:
    """Return the path of a file of this machine, without its protocol, `~` filled in."""
    protocol, separator, path = address.partition("://")
    local = path if separator and protocol in _HERE else address
    return os.path.expanduser(local)  # noqa: PTH111 - unlike Path's, leaves ~nobody as it is


def file_name(address: str) -> str:
    """Return the last part of an address, without a login or a token."""
    return PurePosixPath(mask(address).partition("?")[0]).name


def read_here(name: str, address: str, max_megabytes: int) -> bytes:
    """Read all of a file of this machine, unpacked.

    Raises
    ------
    SourceError
        If it is absent, no regular file, damaged, or larger than `max_megabytes`.
    """
    try:
        with open_regular(address) as file, compr[infer_compression(address)](file, mode="rb") as unpacked:
            return _read_whole(name, address, max_megabytes, unpacked)
    except FileNotFoundError as error:
        raise _absent(name, address) from error
    except _DAMAGED as error:
        raise SourceError(
            f"a readable file for the source {name!r}",
            f"{file_name(address)} is cut short or damaged ({getattr(error, 'strerror', None) or error})",
            "Fetch the file again",
        ) from error


def _absent(name: str, address: str) -> SourceError:
    return SourceError(f"a file for the source {name!r}", f"nothing at {mask(address)}", "Check the path")


def _read_whole(
    name: str, address: str, max_megabytes: int, file: IO[bytes], stop: Callable[[], bool] = lambda: False
) -> bytes:
    parts, size = [], 0
    while not stop() and (part := file.read(_CHUNK)):
        size += len(part)
        if size > max_megabytes * _MEGABYTE:
            raise SourceError(
                f"at most {max_megabytes:,} MB from the source {name!r}, unpacked",
                f"more at {mask(address)}",
                "Check what it is; if it is right, raise `max_megabytes` of the source",
            )
        parts.append(part)
    return b"".join(parts)


def read_elsewhere(name: str, address: str, timeout: Duration, max_megabytes: int) -> bytes:
    """Read all that a store holds at an address, unpacked.

    Raises
    ------
    SourceError
        If it is absent, damaged, refused, or larger than `max_megabytes`.
    SourceUnreachableError
        If the store does not answer, or not in time.
    """
    # in a thread of its own: few clients of stores can be told how long all of it may take
    answer: Future[bytes] = Future()
    given_up = threading.Event()
    last = address.rpartition("::")[2]

    def read() -> None:
        try:
            if "://" not in last or last.startswith(tuple(f"{here}://" for here in _HERE)):
                open_regular(local_path(last)).close()  # what is looked into lies here
            with fsspec.open(address, "rb", compression="infer") as file:
                answer.set_result(_read_whole(name, address, max_megabytes, file, given_up.is_set))
        except Exception as error:  # noqa: BLE001 - raised below; each client of a store has errors of its own
            answer.set_exception(error)

    threading.Thread(target=read, name=f"source {name}", daemon=True).start()
    try:
        return answer.result(timeout.approximate_seconds)
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001 - of whatever client: its own words and trace may hold the login
        raise _fault(name, address, timeout, error) from None
    finally:
        given_up.set()


def _fault(name: str, address: str, timeout: Duration, error: BaseException) -> SourceError:
    """Say what went wrong elsewhere, in no words but ours."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:  # fsspec says so of every fault
        error = error.__cause__
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == HTTPStatus.NOT_FOUND:
        return _absent(name, address)
    if isinstance(error, ImportError):
        found = f"a package that is not installed ({error})"
        return SourceError(f"to read {mask(address)} for the source {name!r}", found, "Install it")
    expected = f"an answer from {mask(address)} for the source {name!r}"
    if status in _REFUSED:
        return SourceError(expected, f"HTTP {status}", "Check the address and its login")
    found = f"none within {timeout}" if isinstance(error, TimeoutError) else type(error).__name__
    found += f" (HTTP {status})" if isinstance(status, int) else ""
    return SourceUnreachableError(expected, found, "Check the address and the network, then run again")
