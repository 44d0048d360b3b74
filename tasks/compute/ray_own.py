"""What a Ray of this process's own lives in: a folder that nobody else may look into, and words of its environment."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from expectations.errors import ComputeError
from tasks.stores.files import remove_abandoned_in, unfinished

PREFIX = "dw-ray-"
MAX_CHARACTERS = 20
"""A folder of temporary files may have: the paths of Ray's sockets below it may have 107 bytes."""


class OwnFolder(NamedTuple):
    """Where the token lies that Ray asks for, and the folder that it writes to."""

    token: Path
    written: Path


@contextmanager
def own_folder() -> Iterator[OwnFolder]:
    """Make a folder for a Ray of our own for as long as the block lasts; those of killed processes are removed.

    Raises
    ------
    ComputeError
        If none can be made.
    """
    parent = _short_parent()
    remove_abandoned_in(parent, PREFIX)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # its owner's alone
    except OSError as error:
        raise ComputeError(
            "a folder for what Ray writes while a training lasts",
            str(error),
            f"Set TMPDIR to one that may be written to, of at most {MAX_CHARACTERS} ASCII characters, "
            "or DRIFTWHEEL_COMPUTE=local",
        ) from error
    with ExitStack() as left:
        left.callback(shutil.rmtree, folder, ignore_errors=True)
        left.enter_context(unfinished(folder))
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(_token(), encoding="ascii")
        written = folder / "r"  # Ray lets everybody write to the folder it is given
        written.mkdir()
        yield OwnFolder(token, written)


@contextmanager
def environment(words: Mapping[str, str], others: Iterable[str] = ()) -> Iterator[None]:
    """Set words of this process's environment for as long as the block lasts; others that it sets are put back, too."""
    before = {name: os.environ.get(name) for name in (*words, *others)}
    os.environ.update(words)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@cache
def _token() -> str:
    """Return the one token of this process: Ray reads it once, and shows it to each cluster that is started later."""
    return secrets.token_hex(32)


def _short_parent() -> str:
    found = tempfile.gettempdir()
    return found if found.isascii() and len(found) <= MAX_CHARACTERS else "/tmp"  # noqa: S108 - mkdtemp makes it ours
