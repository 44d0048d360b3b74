"""Keys of personal values: a file of the home, outside the lake. The newest encrypts; all of them decrypt."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from expectations.errors import StateError
from tasks.stores.files import storing
from tasks.stores.locking import alone
from tasks.stores.whole_files import replace_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PERSONAL_KEYS = "personal-keys.json"
"""Name of their file in a home."""
_KEY_BYTES = 32
_ID_BYTES = 4


class PersonalKey(BaseModel):
    """A key of AES-256-GCM. What it encrypted names it by its id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * _ID_BYTES}}}$")]
    made: datetime
    key: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * _KEY_BYTES}}}$", repr=False)]

    @classmethod
    def fresh(cls) -> PersonalKey:
        """Draw one."""
        return cls(id=secrets.token_hex(_ID_BYTES), made=datetime.now(UTC), key=secrets.token_hex(_KEY_BYTES))


_KEYS = TypeAdapter(Annotated[tuple[PersonalKey, ...], Field(min_length=1)])


@dataclass(frozen=True)
class Keyring:
    """The keys of a home, the oldest first.

    Attributes
    ----------
    path : Path or None
        Where they are kept; None for keys that are thrown away with the rows that they encrypt.
    """

    keys: tuple[PersonalKey, ...] = field(repr=False)
    path: Path | None = None

    @classmethod
    def fresh(cls) -> Keyring:
        """Return one new key that is kept nowhere: nobody can read again what it encrypts."""
        return cls((PersonalKey.fresh(),))

    @property
    def newest(self) -> PersonalKey:
        """The one that encrypts."""
        return self.keys[-1]

    @cached_property
    def ciphers(self) -> dict[str, AESGCM]:
        """Ciphers by the ids of their keys."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return {key.id: AESGCM(bytes.fromhex(key.key)) for key in self.keys}


def kept_keyring(path: Path) -> Keyring:
    """Return the keys of a home; the first is made, for its owner alone, when they are first asked for.

    Raises
    ------
    StateError
        If their file is damaged.
    StorageError
        If it can neither be read nor made.
    """
    return read_keyring(path) or _added(path, only_first=True)


def read_keyring(path: Path) -> Keyring | None:
    """Return the keys of a home; None where it has none.

    Raises
    ------
    StateError
        If their file is damaged.
    StorageError
        If it cannot be read.
    """
    with storing("read the keys of personal values in", path):
        if not path.exists():
            return None
        content = path.read_bytes()
    try:
        keys = _KEYS.validate_json(content)
    except ValueError:  # its words would show what is in the file
        raise StateError(
            f"a file of keys of personal values at {path}",
            f"{len(content)} bytes that are something else",
            "Bring it back from a backup: what the keys encrypted can be read by no others",
        ) from None
    return Keyring(keys, path)


def keys_lost(usecase: str, columns: Sequence[str], path: Path, otherwise: str = "") -> StateError:
    """Return that the file is not there by whose keys columns were encrypted, to be raised.

    Parameters
    ----------
    otherwise : str
        What to do where the file is lost for good.
    """
    are = "is" if len(columns) == 1 else "are"
    return StateError(
        f"the keys by which {', '.join(columns)} of {usecase} {are} encrypted, in {path}",
        "no such file",
        f"Bring it back from a backup, or from the home that collected the rows{otherwise}",
    )


def rotate_keys(path: Path) -> Keyring:
    """Add a key, which encrypts from now on; what earlier ones encrypted stays readable.

    Raises
    ------
    StateError
        If their file is damaged.
    StorageError
        If it cannot be written.
    """
    return _added(path, only_first=False)


def _added(path: Path, *, only_first: bool) -> Keyring:
    """Add a key, or only the first one; one process after the other."""
    with alone(path.with_name(f".{path.name}.lock"), "another change of the keys of personal values"):
        known = read_keyring(path)
        if known is not None and only_first:  # another process made it meanwhile
            return known
        keys = (*(known.keys if known else ()), _unlike(known.keys if known else ()))
        with storing("write the keys of personal values to", path):
            content = json.dumps([key.model_dump(mode="json") for key in keys], indent=1)
            replace_file(path, content, mode=0o600)
    return Keyring(keys, path)


def _unlike(known: Sequence[PersonalKey]) -> PersonalKey:
    """Draw a key whose id no other one has."""
    while (drawn := PersonalKey.fresh()).id in {key.id for key in known}:
        pass
    return drawn
