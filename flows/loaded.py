"""Use cases as processes that go on for long read them: again only where their files changed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from expectations.code import python_files
from expectations.errors import UseCaseError
from expectations.loading import FILE, SUITE, LoadedUseCase
from infra.settings import Settings

Stamp = tuple[object, ...]


class _Read(NamedTuple):
    """What was read, and how all of it was: the code only where the use case calls some, or cannot be read."""

    stamp: Stamp
    code: Stamp | None
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
        code_changed = read is not None and read.code is not None and read.code != self._code(name, folder)
        if read is None or read.stamp != stamp or code_changed:
            self._read.pop(name, None)
            code = self._code(name, folder)
            try:
                found: LoadedUseCase | UseCaseError = self._settings.use_case(name)
            except UseCaseError as error:
                found = error
            runs = isinstance(found, UseCaseError) or found.code is not None
            self._read[name] = read = _Read(stamp, code if runs else None, found)
        if isinstance(read.found, UseCaseError):
            raise read.found.with_traceback(None)
        return read.found

    def _code(self, name: str, folder: Path) -> Stamp:
        """Return how the Python of a folder is, and what of it may run."""
        files = ((each, _stamp(folder / each)) for each in python_files(folder))
        return (*files, self._settings.platform().trusted_code(name))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
