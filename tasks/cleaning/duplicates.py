"""Of rows with the same values in some columns the last."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tasks.stores.hashing import all_differ
from tasks.stores.lake_tables import POSITION


def last_of_each(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Leave out all but the last row of those that are equal in some columns; where none are, nothing is copied.

    Missing values are equal to one another.
    """
    places = places_of_last(rows.select(columns))
    return rows if len(places) == len(rows) else rows[places]


def places_of_last(told_by: pl.DataFrame) -> pl.Series:
    """Return where the last of the rows stands that are equal in all their columns, for each of them."""
    if all_differ(told_by):
        return pl.int_range(len(told_by), dtype=pl.UInt32, eager=True)
    return told_by.with_row_index(POSITION).unique(told_by.columns, keep="last", maintain_order=True)[POSITION]
