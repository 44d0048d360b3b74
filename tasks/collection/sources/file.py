"""Files by path, glob or address."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote

import polars as pl

from expectations.data import DatasetOrigin, SourceContext
from expectations.durations import Duration
from expectations.errors import SourceError
from expectations.fields import PositiveSpan
from tasks.collection.addresses import (
    is_elsewhere,
    is_here,
    local_path,
    locate_files,
    origin_of,
    read_elsewhere,
    read_here,
)
from tasks.collection.sources.tables import TableFiles

_PATTERN = re.compile(r"[*?\[]")
_SETTLED = 2.0
"""Seconds after which a change of a file shows in its time."""


class FileSource(TableFiles):
    """Files by path, folder, glob or address fsspec reads (https, s3, …); paths start at the use case's folder.

    ``${NAME}`` in it is filled in from the environment: as it is, and percent-encoded in a login (``ftp://me:${PW}@…``).

    CSV, Parquet, JSON lines, Arrow or Feather, Excel (.xlsx), also in an archive: all its members are read. Folders
    named as in Hive (``day=2024-01-31``) below a folder or a pattern are a column.
    """

    examples: ClassVar = (
        {"kind": "file", "path": "readings.csv"},
        {"kind": "file", "path": "https://example.org/weather.parquet", "timeout": "1m", "join": {"on": ["n"]}},
    )
    kind: Literal["file"]
    timeout: PositiveSpan = Duration.parse("5m")
    """Most that reading an address elsewhere may take."""

    def read(self, context: SourceContext) -> pl.DataFrame:
        """Read all files; no word of what is wrong with one holds what a variable stands for."""
        hide, report = context.variables.hide, context.report

        def say(words: str) -> None:
            report(hide(words))

        try:
            return super().read(context._replace(report=say))
        except SourceError as error:
            raise type(error)(hide(error.expected), hide(error.found), hide(error.remedy)) from None

    def written(self, context: SourceContext) -> str:
        """Return its path with variables filled in."""
        return _filled(self.path, lambda text: context.variables.fill(context.name, text))

    def locate(self, context: SourceContext) -> list[str]:
        """Return the address itself where it leads elsewhere, else what its path stands for."""
        return locate_files(context.name, self.written(context), context.folder, self.timeout)

    def files_in(self, context: SourceContext) -> Path:
        """Return the folder that its files lie in; of an address elsewhere that of the use case."""
        address = self.written(context)
        if not is_here(address) or "::" in address:
            return context.folder
        whole = context.folder / local_path(address)
        plain = next(part for part in (whole, *whole.parents) if not _PATTERN.search(str(part)))
        return plain if plain.is_dir() else plain.parent

    def fetch(self, name: str, address: str) -> bytes:
        """Read a regular file of this machine, or what a store elsewhere holds."""
        if is_elsewhere(name, address):
            return read_elsewhere(name, address, self.timeout, self.max_megabytes)
        return read_here(name, address, self.max_megabytes)

    def origin(self, folder: Path) -> DatasetOrigin:
        """Return its path, or the store elsewhere and the path there."""
        last = self.path.rpartition("::")[2] if "://" in self.path else self.path  # of an archive, where that lies
        return DatasetOrigin("file", str(folder / local_path(last))) if is_here(last) else origin_of(last)

    def mark(self, address: str) -> str:
        """Return size and time of a file of this machine that has stood for a while: a newer one may change unseen."""
        if is_elsewhere("", address):
            return ""
        try:
            found = Path(local_path(address)).stat()
        except OSError:  # which reading it says
            return ""
        return f"{found.st_size} {found.st_mtime_ns}" if time.time() - found.st_mtime > _SETTLED else ""


_LOGIN = re.compile(r"(?<=://)[^/?#]*(?=@)")


def _filled(path: str, fill: Callable[[str], str]) -> str:
    """Fill in variables; in a login what they stand for must not end it."""
    parts, at = [], 0
    for login in _LOGIN.finditer(path):
        parts += [fill(path[at : login.start()]), *(_quoted(part, fill) for part in _parted(login[0]))]
        at = login.end()
    return "".join((*parts, fill(path[at:])))


def _parted(login: str) -> list[str]:
    return re.split(r"(\$\{[^}]*\})", login)


def _quoted(part: str, fill: Callable[[str], str]) -> str:
    return quote(fill(part), safe="") if part.startswith("${") else part
