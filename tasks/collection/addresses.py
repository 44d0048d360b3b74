"""From the address a source declares to bytes: regular files of this machine, and stores elsewhere within limits.

Nothing of a package is imported to find its files. What an address holds of logins and tokens is in no message.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path

import fsspec
from fsspec.compression import compr

from expectations.data import DatasetOrigin
from expectations.durations import Duration
from expectations.errors import SourceError, SourceUnreachableError
from expectations.files import open_regular
from expectations.masking import mask
from tasks.collection.archives import (
    DAMAGED,
    compression_of,
    damaged,
    read_whole,
)
from tasks.collection.deadlines import Found, in_time

_HERE = ("file", "local")
_ELSEWHERE = frozenset(
    {"http", "https", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs", "hf", "github"}
    | {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"}
)
"""Protocols of fsspec that lead to another machine. Its others read memory, folders of this one, or code."""
_HOSTED = frozenset({"ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs", "github"})
"""Those whose paths say nothing of the machine (of GitHub: of the repository) that they lie on."""
_INSIDE = ("zip", "tar")
"""Those that look into a file of another address: ``zip://jan.csv::https://…``."""
_PATIENCE = Duration.parse("5m")
_REFUSED = frozenset(range(400, 500)) - {408, 425, 429}
"""HTTP's statuses that the same request will get again."""


def locate_files(name: str, path: str, folder: Path, timeout: Duration = _PATIENCE) -> list[str]:
    """Return the addresses the path of the source `name` stands for, in order: a file, all in a folder, or a pattern.

    Raises
    ------
    SourceError
        If no file matches, or the address is of a kind that is not read.
    """
    if is_elsewhere(name, path):
        http = path.startswith("http")  # there a star may stand in the query
        listed = "*" in (path.partition("?")[0] if http else path) or (path.endswith("/") and not http)
        return _some(name, mask(path), _list_elsewhere(name, path, timeout)) if listed and "::" not in path else [path]
    local = local_path(path)
    if os.path.isfile(folder / local):  # noqa: PTH113 - any text; it may hold a bracket
        return [str(folder / local)]
    # only what the use case says is a pattern, not the name of its folder
    found = glob.glob(local, root_dir=folder, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = [file for each in sorted(found) for file in _files(folder / each)]
    lacking = ": it is a folder without files" if found else ""
    return _some(name, f"{path}{lacking}", list(dict.fromkeys(map(str, files))))


def _files(path: Path) -> list[Path]:
    """Return a file itself, and of a folder all files below it that are none of a writer's own."""
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.is_file())
    return [each for each in found if not _is_hidden(each.relative_to(path).parts)]


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith((".", "_")) and "=" not in part for part in parts)


def _list_elsewhere(name: str, address: str, timeout: Duration) -> list[str]:
    def find() -> list[str]:
        store, path = fsspec.core.url_to_fs(address)
        found = store.glob(path) if "*" in path else store.find(path)
        fixed = (path.partition("*")[0] if "*" in path else f"{path.rstrip('/')}/").count("/")
        files = [each for each in sorted(found) if not _is_hidden(each.split("/")[fixed:])]
        return [_whole(name, address, path, store.unstrip_protocol(each), each) for each in files if each[-1:] != "/"]

    return _in_time(name, address, timeout, find)


def _whole(name: str, address: str, path: str, found: str, file: str) -> str:
    """Return the address of a file: what stands before the path that was listed, and its own path.

    A store's own words for it lack the host, the port and the login where its paths do.
    """
    path, listed = path.rstrip("/"), address.rstrip("/")
    if listed.endswith(path):
        return listed.removesuffix(path) + file
    if address.partition("://")[0] in _HOSTED:
        raise SourceError(
            f"files to list for the source {name!r} at an address that ends in its path",
            mask(address),
            "Name each file by a source of its own, or leave out what follows the path",
        )
    return found


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


def is_here(address: str) -> bool:
    """Whether an address without links is a path of this machine, with a protocol that says so or with none."""
    protocol, separator, _ = address.partition("://")
    return not separator or protocol in _HERE


def local_path(address: str) -> str:
    """Return the path of a file of this machine, without its protocol, `~` filled in."""
    protocol, separator, path = address.partition("://")
    local = path if separator and protocol in _HERE else address
    return os.path.expanduser(local)  # noqa: PTH111 - unlike Path's, leaves ~nobody as it is


def origin_of(address: str) -> DatasetOrigin:
    """Return an address that leads elsewhere as OpenLineage names data sets, without login and query.

    Examples
    --------
    >>> origin_of("s3://bucket/day/*.parquet")
    DatasetOrigin(namespace='s3://bucket', name='day/*.parquet')
    >>> origin_of("https://ann:pass@host:8080/rows.csv?sig=ab")
    DatasetOrigin(namespace='https://host:8080', name='/rows.csv')
    """
    scheme, _, rest = mask(address).partition("://")
    authority, slash, path = rest.partition("?")[0].partition("/")
    host = authority.rpartition("@")[2]
    return DatasetOrigin(f"{scheme}://{host}", slash * scheme.startswith(("http", "ftp")) + path)


def read_here(name: str, address: str, max_megabytes: int) -> bytes:
    """Read all of a file of this machine, unpacked unless it is an archive.

    Raises
    ------
    SourceError
        If it is absent, no regular file, damaged, or larger than `max_megabytes`.
    """
    try:
        with open_regular(address) as file, compr[compression_of(address)](file, mode="rb") as unpacked:
            return read_whole(name, address, max_megabytes, unpacked)
    except FileNotFoundError as error:
        raise _absent(name, address) from error
    except DAMAGED as error:
        raise damaged(name, address, error) from error


def _absent(name: str, address: str) -> SourceError:
    return SourceError(f"a file for the source {name!r}", f"nothing at {mask(address)}", "Check the path")


def read_elsewhere(name: str, address: str, timeout: Duration, max_megabytes: int) -> bytes:
    """Read all that a store holds at an address, unpacked unless it is an archive.

    Raises
    ------
    SourceError
        If it is absent, damaged, refused, or larger than `max_megabytes`.
    SourceUnreachableError
        If the store does not answer, or not in time.
    """
    given_up = threading.Event()
    last = address.rpartition("::")[2]

    def read() -> bytes:
        if is_here(last):
            open_regular(local_path(last)).close()  # what is looked into lies here
        with fsspec.open(address, "rb", compression=compression_of(address)) as file:
            return read_whole(name, address, max_megabytes, file, given_up.is_set)

    try:
        return _in_time(name, address, timeout, read)
    finally:
        given_up.set()


def _in_time(name: str, address: str, timeout: Duration, work: Callable[[], Found]) -> Found:
    """Do work at a store: few clients take a timeout for all of it."""
    try:
        return in_time(name, timeout, work)
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001 - of whatever client: its own words and trace may hold the login
        raise _fault(name, address, timeout, error) from None


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
