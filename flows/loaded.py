"""Use cases as processes that go on for long read them: again only where their files changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from expectations.code import python_files
from expectations.errors import UseCaseError
from expectations.loading import FILE, SUITE, LoadedUseCase
from infra.settings import Settings

Stamp = tuple[object, ...]


_SETTLED = 2 * 10**9
"""Nanoseconds after which a further change of a folder has another time: file systems keep times that far apart."""


class _Python(NamedTuple):
    """The Python files of a folder as they were, and the folders among which others would appear."""

    files: tuple[tuple[Path, Stamp], ...]
    folders: tuple[tuple[Path, Stamp], ...]
    settled: bool
    """Whether folders had not changed for long enough that their times show the next change."""

    @classmethod
    def of(cls, folder: Path) -> _Python:
        """Walk a folder; hidden ones inside are left out."""
        now = time.time_ns()
        folders = tuple((each, _stamp(each)) for each in _folders(folder))
        files = tuple((each, _stamp(folder / each)) for each in python_files(folder))
        return cls(files, folders, all(now - stamp[0] > _SETTLED for _, stamp in folders))

    def again(self, folder: Path) -> _Python:
        """Return them as they are now; the folder is walked only where a file may have come or gone."""
        if not self.settled or any(_stamp(each) != stamp for each, stamp in self.folders):
            return _Python.of(folder)
        return self._replace(files=tuple((each, _stamp(folder / each)) for each, _ in self.files))


class _Read(NamedTuple):
    """What was read, and how all of it was: the code only where the use case calls some, or cannot be read."""

    stamp: Stamp
    python: _Python | None
    trusted: str | None
    found: LoadedUseCase | UseCaseError


class LoadedUseCases:
    """Reads use cases; what did not change is not read again, nor is what cannot be read.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: dict[str, _Read] = {}

    def load(self, name: str, folder: Path) -> LoadedUseCase:
        """Return the use case of a name, whose folder is known; the same object while its files are the same.

        Raises
        ------
        UseCaseError
            If it is not valid.
        StateError
            If it was registered under another name than it has now.
        """
        stamp = (folder, *(_stamp(folder / each) for each in (FILE, SUITE)))
        read = self._read.get(name)
        if read is None or read.stamp != stamp or self._code_changed(name, folder, read):
            self._read.pop(name, None)
            python, trusted = _Python.of(folder), self._settings.platform().trusted_code(name)
            try:
                found: LoadedUseCase | UseCaseError = self._settings.use_case(name)
            except UseCaseError as error:
                found = error
            runs = isinstance(found, UseCaseError) or found.code is not None
            self._read[name] = read = _Read(stamp, python if runs else None, trusted, found)
        if isinstance(read.found, UseCaseError):
            raise read.found.with_traceback(None)
        return read.found

    def _code_changed(self, name: str, folder: Path, read: _Read) -> bool:
        """Whether the Python of a folder is another, or what of it may run."""
        if read.python is None:
            return False
        python = read.python.again(folder)
        if python.files != read.python.files or self._settings.platform().trusted_code(name) != read.trusted:
            return True
        self._read[name] = read._replace(python=python)
        return False


def _folders(folder: Path) -> Iterator[Path]:
    """Yield a folder and those inside, hidden ones left out."""
    for place, inside, _ in os.walk(folder):
        inside[:] = [each for each in inside if not each.startswith(".")]
        yield Path(place)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
