"""Who was forgotten, as keyed hashes: sources may hold them still, and their rows are not collected again."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from collections.abc import Iterable, Mapping

import polars as pl

from tasks.stores.pseudonyms import text_of

FORGOTTEN = "driftwheel.forgotten"
"""Note of a commit of the raw table: columns, and hashes of values in them, that name who was forgotten."""

KEPT_SINCE = "driftwheel.kept_since"
"""Note of a commit of the raw table: rows from before this instant were erased, as they need not be kept."""


def digest_of(secret: bytes, columns: Iterable[str], values: Iterable[object]) -> str:
    """Hash values by the key of the home: who has not the key learns nothing from it."""
    words = "\0".join(f"{column}\1{text_of(value)}" for column, value in zip(columns, values, strict=True))
    return hmac.new(secret, words.encode(), hashlib.sha256).hexdigest()[:32]


def add_tombstone(noted: str | None, person: Mapping[str, Iterable[str]], secret: bytes) -> str:
    """Return the note with one more person in it.

    Parameters
    ----------
    person : mapping of str to iterable of str
        Column -> values that name them.
    """
    known: dict[str, list[str]] = json.loads(noted or "{}")
    columns = sorted(person)
    key = json.dumps(columns)
    digests = {digest_of(secret, columns, each) for each in itertools.product(*(person[name] for name in columns))}
    return json.dumps({**known, key: sorted({*known.get(key, ()), *digests})})


def without_forgotten(rows: pl.DataFrame, noted: str | None, secret: bytes) -> pl.DataFrame:
    """Leave out rows of those who were forgotten."""
    known: dict[str, list[str]] = json.loads(noted or "{}")
    for key, digests in known.items():
        columns, gone = json.loads(key), set(digests)
        if rows.is_empty() or any(column not in rows.columns for column in columns):
            continue
        each = rows.select(columns).unique()
        theirs = each.filter(
            pl.Series([digest_of(secret, columns, row) in gone for row in each.iter_rows()], dtype=pl.Boolean)
        )
        if len(theirs):
            rows = rows.join(theirs, on=columns, how="anti", nulls_equal=True, maintain_order="left")
    return rows
