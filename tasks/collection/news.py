"""Which of the rows that were read the raw table does not hold as they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from expectations.usecase import UseCase
from tasks.collection.encrypted_columns import with_held_ciphertexts
from tasks.collection.types import match_types
from tasks.stores.hashing import all_differ
from tasks.stores.lake_tables import BATCH, POSITION
from tasks.stores.memory import gathered
from tasks.stores.personal_keys import Keyring

NO_TIMES = pl.Series([], dtype=pl.Datetime("us", "UTC"))


@dataclass(frozen=True)
class News:
    """Rows that the raw table does not hold as they are, and what they are to it."""

    rows: pl.DataFrame
    corrected: int
    late: pl.Series
    """Event times of new rows from before the lookback."""


def once(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Leave out rows that stand twice to the letter; versions of one key stay, in their order.

    A frame that nothing else refers to is held once throughout.
    """
    if all_differ(rows):  # the rule; to look for what to leave out would copy all of it
        return rows
    told_by = rows.select(keys).with_columns(rows.hash_rows().alias("_hash")).with_row_index(POSITION)
    places = told_by.unique([*keys, "_hash"], keep="last", maintain_order=True)[POSITION]
    columns = rows.get_columns()
    del rows, told_by
    return gathered(columns, places)


def find_news(
    rows: pl.DataFrame,
    raw: pl.LazyFrame,
    spec: UseCase,
    since: datetime | None,
    compared: datetime | None,
    keyring: Keyring,
) -> News:
    """Return which rows are new or corrected.

    Parameters
    ----------
    since : datetime, optional
        From when on known rows are read; all where not given.
    compared : datetime, optional
        From when on corrections are looked for: a new row from before it is late.
    keyring : Keyring
        Keys of what is encrypted, which is compared in clear.

    Raises
    ------
    StateError
        If a ciphertext that is held cannot be read.
    """
    keys, clock = list(spec.keys), spec.time_column
    latest = _latest(raw, rows, spec, since)
    rows = with_held_ciphertexts(rows, latest, spec, keyring)
    ordered, beside = _alike(rows, latest)
    hashes = latest.select(keys).with_columns(beside.hash_rows().alias("_known"))
    versions = rows.with_columns(ordered.hash_rows().alias("_hash")).join(
        match_types(hashes, rows, keys), on=keys, how="left", maintain_order="left"
    )
    # of several versions in one batch the last decides whether anything is new
    last = versions.unique(keys, keep="last", maintain_order=True)
    changed = last.filter(pl.col("_known").is_null() | (pl.col("_known") != pl.col("_hash")))
    fresh = versions.join(changed.select(keys), on=keys, how="semi", maintain_order="left")
    unseen = changed.filter(pl.col("_known").is_null())
    late = NO_TIMES if compared is None else unseen.filter(pl.col(clock) < compared)[clock]
    return News(once(fresh.drop("_hash", "_known"), keys), len(changed) - len(unseen), late)


def _alike(rows: pl.DataFrame, latest: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bring new rows and known ones to the same columns and types, in which both say all they say."""
    new, known = [], []
    for column, dtype in rows.schema.items():
        kept = latest.schema.get(column)
        common = dtype if kept is None or kept == pl.Null else kept
        if kept is not None and kept != dtype and ((dtype.is_float() and kept.is_integer()) or dtype == pl.String):
            common = dtype
        new.append(rows[column].cast(common, strict=False))
        known.append(
            pl.Series(column, [None], dtype=common).new_from_index(0, len(latest))
            if kept is None
            else latest[column].cast(common, strict=False)
        )
    return pl.DataFrame(new), pl.DataFrame(known)


def _latest(raw: pl.LazyFrame, rows: pl.DataFrame, spec: UseCase, since: datetime | None) -> pl.DataFrame:
    """Read the newest versions of the rows that new ones may be versions of."""
    keys, clock = list(spec.keys), pl.col(spec.time_column)
    if since is not None and spec.time_column in keys:  # else a correction may move a row in time, from anywhere
        known = clock >= since
        if len(rows.filter(clock < since)):
            known |= pl.col(spec.label.column).is_null()
        raw = raw.filter(known)
    return raw.collect().sort(BATCH, maintain_order=True).unique(keys, keep="last", maintain_order=True)
