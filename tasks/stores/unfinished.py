"""Work that a killed run left half done, kept in a folder until the run that goes on with it has ended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_kept: ContextVar[Path | None] = ContextVar("_kept", default=None)


@contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """Let what takes long keep its state in a folder while the block lasts; the folder goes when it has ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    token = _kept.set(folder)
    try:
        yield
    finally:
        _kept.reset(token)
    shutil.rmtree(folder)


def kept_in() -> Path | None:
    """Return the folder that state is kept in; None where nothing is."""
    return _kept.get()
