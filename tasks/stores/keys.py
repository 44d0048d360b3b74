"""API keys of the service: shown once when made, kept as hashes, replaced without a restart."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from expectations.errors import DriftwheelError, StateError
from tasks.stores.files import storing
from tasks.stores.locking import alone
from tasks.stores.whole_files import replace_file

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = ("predict", "feedback", "admin")
PLATFORM = "platform"
"""Name of the key the platform itself shows."""
_PREFIX = "dw"


class Key(BaseModel):
    """What is kept of a key: 256 random bits need no slow hash, SHA-256 does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    made: datetime


class Keys:
    """A file of keys.

    Parameters
    ----------
    path : Path
        Need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Key]:
        """Return the keys by name.

        Raises
        ------
        StateError
            If the file is no file of keys.
        StorageError
            If it cannot be read.
        """
        with storing("read the API keys in", self.path):
            content = self.path.read_bytes() if self.path.exists() else b"[]"
        try:
            found = [Key.model_validate(each) for each in json.loads(content)]
        except (ValueError, TypeError) as error:
            raise StateError(
                f"a file of API keys at {self.path}",
                f"something else ({type(error).__name__})",
                "Bring it back from a backup; or remove it, and make new keys",
            ) from error
        return {key.name: key for key in found}

    def add(self, name: str, scopes: Sequence[Scope], secret: str | None = None) -> str:
        """Make a key and return it: it is nowhere to be read again.

        Raises
        ------
        DriftwheelError
            If the name is taken or is no name.
        """
        with self._changing() as known:
            check_name(name, known)
            text = secret or f"{_PREFIX}_{name}_{secrets.token_urlsafe(32)}"
            known[name] = _key(name, scopes, text)
        return text

    def put(self, name: str, scopes: Sequence[Scope], secret: str) -> None:
        """Give a name another key, or its first; the service takes the new one in the place of the old at once."""
        with self._changing() as known:
            known[name] = _key(name, scopes, secret)

    def remove(self, name: str) -> None:
        """Forget a key; the service stops taking it within a second.

        Raises
        ------
        DriftwheelError
            If there is none of this name.
        """
        with self._changing() as known:
            if name not in known:
                raise DriftwheelError(
                    f"one of {', '.join(sorted(known)) or 'no keys'}", repr(name), "See `driftwheel keys list`"
                )
            del known[name]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """Read the keys, and write them as they are at the end; one process after the other."""
        with alone(self.path.with_name(f".{self.path.name}.lock"), "another change of the keys"):
            known = self.read()
            yield known
            self._write(known)

    def _write(self, keys: dict[str, Key]) -> None:
        with storing("write the API keys to", self.path):
            before = self.path.stat() if self.path.exists() else None  # a container reads it by this owner and mode
            replace_file(self.path, json.dumps([key.model_dump(mode="json") for key in keys.values()], indent=1))
            self.path.chmod(stat.S_IMODE(before.st_mode) if before else 0o640)
            if before is not None and os.geteuid() == 0:
                os.chown(self.path, before.st_uid, before.st_gid)


def key_of(presented: bytes, keys: Sequence[Key]) -> Key | None:
    """Return which key was presented; None where it is none of ours. Takes the same time for every wrong one."""
    digest = hashlib.sha256(presented).hexdigest()
    found: Key | None = None
    for key in keys:
        if hmac.compare_digest(digest, key.sha256):
            found = key
    return found


def check_name(name: str, known: dict[str, Key]) -> None:
    """Check that a key may be called this.

    Raises
    ------
    DriftwheelError
        If the name is taken or is no name.
    """
    if not name.replace("-", "").isalnum() or len(name) > 64:
        raise DriftwheelError("a name of letters, digits and dashes", repr(name), "Choose another")
    if name in known:
        raise DriftwheelError(
            f"a name other than {', '.join(sorted(known))}", repr(name), f"Remove it first, or call it {name}-2"
        )


def _key(name: str, scopes: Sequence[Scope], text: str) -> Key:
    return Key(name=name, sha256=digest_of(text), scopes=tuple(scopes), made=datetime.now(UTC))


def digest_of(text: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()
