"""Encrypted columns: a value that comes again keeps its ciphertext, or each row would be a correction."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from expectations.usecase import UseCase
from tasks.collection.commit_notes import collected_with, definition
from tasks.collection.types import match_types
from tasks.stores.ciphertexts import as_texts, decrypt_values, encrypt_values
from tasks.stores.hashing import all_differ
from tasks.stores.lake import Lake
from tasks.stores.personal_keys import Keyring, kept_keyring, keys_lost, read_keyring

_CLEAR, _HELD = "_clear", "_held"


def keyring_of(spec: UseCase, lake: Lake, path: Path) -> Keyring | None:
    """Return the keys of what a use case encrypts; None where it encrypts nothing.

    The first key is made where no rows are held. Rows that are held need theirs: beside a new one in its place, the
    file that was lost could not be brought back any more.

    Parameters
    ----------
    path : Path
        File of the keys.

    Raises
    ------
    StateError
        If rows were collected encrypted, and the file is not here, or is damaged.
    StorageError
        If it can neither be read nor made.
    """
    if not spec.encrypted:
        return None
    found = read_keyring(path)
    if found is not None:
        return found
    same = collected_with(lake).get("personal") == definition(spec)["personal"]  # else collection refuses the change
    if lake.version("raw") is not None and same:
        anew = "; where it is lost, give the use case another `name`, under which all is collected anew"
        raise keys_lost(lake.usecase, spec.encrypted, path, anew)
    return kept_keyring(path)


def encrypt_column(rows: pl.DataFrame, column: str, spec: UseCase, keyring: Keyring) -> pl.Series:
    """Encrypt a column. A row that is delivered twice has one ciphertext; equal values of two rows have two."""
    values = as_texts(rows[column])
    found = encrypt_values(values, keyring, spec.name)
    keys = list(spec.keys)
    if any(key not in rows.columns for key in keys) or all_differ(rows.select(keys)):
        return found
    same = rows.select(keys).with_columns(values.alias(_CLEAR))
    return found.gather(same.select(pl.int_range(pl.len()).first().over([*keys, _CLEAR])).to_series())


def with_held_ciphertexts(rows: pl.DataFrame, latest: pl.DataFrame, spec: UseCase, keyring: Keyring) -> pl.DataFrame:
    """Give rows whose value is the one that is held its ciphertext, by whichever key that was encrypted.

    Parameters
    ----------
    rows : polars.DataFrame
        New rows, encrypted.
    latest : polars.DataFrame
        The newest version of each row that is held.

    Raises
    ------
    StateError
        If a ciphertext that is held cannot be read: its key is gone, or it was altered.
    """
    keys = list(spec.keys)
    for column, how in spec.personal.items():
        if not how.encrypts or latest.schema.get(column) != pl.String or column not in rows.columns:
            continue
        known = match_types(latest.select(*keys, pl.col(column).alias(_HELD)), rows, keys)
        held = rows.select(keys).join(known, on=keys, how="left", maintain_order="left")[_HELD]
        both = held.is_not_null() & rows[column].is_not_null()
        before = decrypt_values(held.filter(both).alias(column), keyring, spec.name)
        same = before == decrypt_values(rows[column].filter(both), keyring, spec.name)
        at = both.arg_true().filter(same)
        rows = rows.with_columns(rows[column].scatter(at, held.gather(at)).alias(column))
    return rows
