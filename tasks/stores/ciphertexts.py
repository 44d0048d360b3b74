"""Personal values encrypted by AES-GCM: read again with a key of the home, compared by nobody without it.

A ciphertext is a text, ``enc1.KEY.BASE64``: the id of the key, then the nonce (12 bytes), what is encrypted, and the
tag (16 bytes). The nonce is drawn for each value, so that equal values differ. Use case and column are authenticated
with it: a ciphertext that was moved to another column is refused as one that was altered.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from functools import cache
from typing import TYPE_CHECKING

from expectations.errors import StateError
from tasks.stores.pseudonyms import text_of

if TYPE_CHECKING:
    import polars as pl

    from tasks.stores.personal_keys import Keyring

_FORMAT = "enc1"
_NONCE = 12
_TAG = 16


def encrypt_values(values: pl.Series, keyring: Keyring, usecase: str) -> pl.Series:
    """Encrypt a column by the newest key, each value as text; what is missing stays missing.

    Parameters
    ----------
    values : polars.Series
        Texts, numbers, booleans or days, of shape (n_rows,), under the name of their column.

    Returns
    -------
    polars.Series
        Ciphertexts, of shape (n_rows,).
    """
    import polars as pl

    texts, key = as_texts(values), keyring.newest
    cipher, context = keyring.ciphers[key.id], _context(usecase, values.name, key.id)
    nonces = os.urandom(_NONCE * len(texts))
    sealed = [
        None if text is None else (nonce := nonces[at : at + _NONCE]) + cipher.encrypt(nonce, text.encode(), context)
        for at, text in zip(range(0, len(nonces), _NONCE), texts, strict=True)
    ]
    written = pl.Series(values.name, sealed, dtype=pl.Binary).bin.encode("base64")
    return (f"{_FORMAT}.{key.id}." + written).alias(values.name)


def decrypt_values(values: pl.Series, keyring: Keyring, usecase: str) -> pl.Series:
    """Read a column of ciphertexts again, as texts; what is missing stays missing.

    Raises
    ------
    StateError
        If one is no ciphertext, its key is not here, or it was altered or moved from another column or use case.
    """
    import polars as pl

    context = cache(lambda key: _context(usecase, values.name, key))
    ciphers, found = keyring.ciphers, list[str | None]()
    from cryptography.exceptions import InvalidTag

    for row, value in enumerate(values):
        if value is None:
            found.append(None)
            continue
        key, sealed = _parts(value, values.name, row)
        if key not in ciphers:
            raise StateError(
                f"the key {key}, by which {values.name} was encrypted",
                f"{len(ciphers)} others in {keyring.path or 'memory'}",
                "Bring the file of keys back from a backup, or from the home that collected the rows",
            )
        try:
            found.append(ciphers[key].decrypt(sealed[:_NONCE], sealed[_NONCE:], context(key)).decode())
        except InvalidTag as error:
            raise StateError(
                f"a value of {values.name} of {usecase} as it was encrypted",
                f"one that was altered, or moved there from elsewhere, in row {row}",
                "Bring the table back from a backup",
            ) from error
    return pl.Series(values.name, found, dtype=pl.String)


def as_texts(values: pl.Series) -> pl.Series:
    """Return values as the texts that are encrypted, the same whatever type held them."""
    import polars as pl

    if values.dtype.is_float():
        values = values.fill_nan(None)
    elif values.dtype == pl.String:
        return values
    elif not (values.dtype.is_integer() or values.dtype == pl.Boolean):
        return values.cast(pl.String)
    return pl.Series(values.name, [None if each is None else text_of(each) for each in values], dtype=pl.String)


def _context(usecase: str, column: str, key: str) -> bytes:
    """Return what is authenticated beside a value."""
    return json.dumps([_FORMAT, usecase, column, key]).encode()


def _parts(value: str, column: str, row: int) -> tuple[str, bytes]:
    """Split a ciphertext into the id of its key, and nonce, text and tag."""
    form, _, rest = value.partition(".")
    key, _, written = rest.partition(".")
    try:
        sealed = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        sealed = b""
    canonical = base64.b64encode(sealed).decode() == written  # bits that are not read may have been altered, too
    if form != _FORMAT or len(sealed) < _NONCE + _TAG or not canonical:
        raise StateError(
            f"encrypted values in {column}",
            f"something else in row {row}",
            "Bring the table back from a backup; or collect under another `name`, where values were kept in clear",
        )
    return key, sealed
