"""Rows held against the suite, and against what collection could not read of them."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from expectations.loading import LoadedUseCase
from tasks.cleaning.suite import Outcome, validate
from tasks.cleaning.unreadable_pictures import unreadable_pictures
from tasks.stores.lake_tables import BETWEEN_UNREAD, UNREAD
from tasks.stores.stored_rows import StoredRows

_MOSTLY = 0.99
"""Share of rows that must have been read; beneath it the batch is held as a whole."""


def judge(usecase: LoadedUseCase, rows: pl.DataFrame | StoredRows) -> list[Outcome]:
    """Hold rows of the raw table against the suite; those with a value that is no number, where one is needed, fail.

    So do those with a picture that could not be decoded.

    Raises
    ------
    UseCaseError
        If the suite cannot be built.
    """
    judged = rows.drop(UNREAD) if UNREAD in rows.columns else rows
    return [*validate(usecase, judged), *_unread(rows), *unreadable_pictures(usecase, rows)]


def _unread(rows: pl.DataFrame | StoredRows) -> Iterator[Outcome]:
    if UNREAD not in rows.columns:
        return
    columns = rows[UNREAD].str.split(BETWEEN_UNREAD)
    for column in sorted(set(columns.explode().drop_nulls())):
        failing = columns.list.contains(column).fill_null(value=False).arg_true().cast(pl.Int64).to_numpy()
        success = len(failing) <= (1 - _MOSTLY) * len(rows)
        yield Outcome(f"is_a_number({column})", "row", success, "critical", failing, None)
