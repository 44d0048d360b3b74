"""Use cases as processes that go on for long read them: again only where their files changed."""

from __future__ import annotations

from pathlib import Path

from expectations.errors import UseCaseError
from expectations.loading import FILE, SUITE, LoadedUseCase
from infra.settings import Settings

Stamp = tuple[object, ...]


class LoadedUseCases:
    """Reads use cases; what did not change is not read again, nor is what cannot be read.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: dict[str, tuple[Stamp, LoadedUseCase | UseCaseError]] = {}

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
        if read is None or read[0] != stamp:
            self._read.pop(name, None)
            try:
                read = stamp, self._settings.use_case(name)
            except UseCaseError as error:
                read = stamp, error
            self._read[name] = read
        if isinstance(read[1], UseCaseError):
            raise read[1].with_traceback(None)
        return read[1]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
