"""Secrets of a home, each in a file of its own."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from pathlib import Path

from expectations.errors import StateError
from tasks.stores.files import storing

_SECRET_BYTES = 32


def kept_secret(path: Path) -> str:
    """Return a secret in hex; made whole, for its owner alone, when it is first asked for.

    Raises
    ------
    StateError
        If its file is damaged.
    StorageError
        If it can neither be read nor made.
    """
    with storing("read or make the secret in", path):
        if not path.exists():
            with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=path.parent, prefix=f".{path.name}-") as file:
                file.write(secrets.token_hex(_SECRET_BYTES))  # the file is its owner's alone
                file.flush()
                with contextlib.suppress(FileExistsError):  # another process made it meanwhile
                    os.link(file.name, path)
        content = path.read_bytes()
    if not re.fullmatch(rb"[0-9a-f]{%d}" % (2 * _SECRET_BYTES), content):
        raise StateError(
            f"{2 * _SECRET_BYTES} hexadecimal digits in {path}",
            f"{len(content)} bytes that are something else",
            "Bring it back from a backup: what an earlier one hashed or signed fits no new one",
        )
    return content.decode("ascii")
