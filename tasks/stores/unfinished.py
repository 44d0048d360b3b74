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


@contextmanager
def keeping_in(name: str) -> Iterator[None]:
    """Let one of several tries keep its state in a folder of its own, until `remove_kept` or `merge_kept`."""
    folder = kept_in()
    if folder is None:
        yield
        return
    own = folder / name
    own.mkdir(exist_ok=True)
    token = _kept.set(own)
    try:
        yield
    finally:
        _kept.reset(token)


def remove_kept(name: str) -> None:
    """Remove what a try kept; nothing where it kept nothing."""
    folder = kept_in()
    if folder is not None and (folder / name).exists():
        shutil.rmtree(folder / name)


def merge_kept(name: str) -> None:
    """Keep what a try kept as if it had not been kept apart: who does the same again goes on from it."""
    folder = kept_in()
    if folder is not None and (folder / name).exists():
        for path in (folder / name).iterdir():
            path.replace(folder / path.name)
        (folder / name).rmdir()


def kept_in() -> Path | None:
    """Return the folder that state is kept in; None where nothing is."""
    return _kept.get()
