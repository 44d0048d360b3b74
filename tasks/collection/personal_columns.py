"""Personal columns: each is dropped, or its values are replaced, before anything is written."""

from __future__ import annotations

import polars as pl

from expectations.column_types import column_type
from expectations.errors import SourceError
from expectations.usecase import UseCase
from tasks.collection.encrypted_columns import encrypt_column
from tasks.collection.expected_types import needed_columns
from tasks.stores.personal_keys import Keyring


def protect(rows: pl.DataFrame, spec: UseCase, secret: bytes, keyring: Keyring) -> pl.DataFrame:
    """Drop personal columns, or replace their values, as declared.

    Parameters
    ----------
    secret : bytes
        Key of the hashes.
    keyring : Keyring
        Keys of what is encrypted.

    Raises
    ------
    SourceError
        If a column has a type that its protection cannot replace.
    """
    for column, how in spec.personal.items():
        if column not in rows.columns:
            continue
        if not how.keeps:
            rows = rows.drop(column)
            continue
        dtype = rows.schema[column]
        needed = how.misfits(column_type(dtype)) if dtype != pl.Null else ""
        # a day that no request carries has one text, and may be hashed, cut or encrypted
        if needed and (column in needed_columns(spec) or how.misfits("text")):
            raise SourceError(
                f"{needed} in {column}, to be {how.words}",
                "instants, which a request may write in many ways"
                if dtype.is_temporal()
                else f"values of type {dtype}",
                f"Drop or keep it under `personal`, or declare it: `columns: {{{column}: {{type: text}}}}`"
                if not how.misfits("text")
                else "Choose another protection under `personal`, or declare the type of the column under `columns`",
            )
        kept = encrypt_column(rows, column, spec, keyring) if how.encrypts else how.column(rows[column], secret)
        rows = rows.with_columns(kept.alias(column))
    return rows
