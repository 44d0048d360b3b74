"""Repair rows as the use case declares: nothing is learnt, so the same rows are repaired the same way at any time."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from expectations.errors import PartError
from expectations.parts import CleaningStep, Repaired
from expectations.wording import one_line
from tasks.stores.lake_tables import POSITION
from tasks.stores.stored_rows import StoredRows


def repair(
    rows: pl.DataFrame, steps: Sequence[CleaningStep], keys: Sequence[str]
) -> tuple[pl.DataFrame, list[Repaired]]:
    """Run the declared steps in order.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        In the order they were collected: of duplicates the last stays.
    """
    done = []
    for step in steps:
        rows, repaired = step.repair(rows, keys)
        done.append(repaired)
    return rows, done


def repair_stored(
    rows: StoredRows, steps: Sequence[CleaningStep], keys: Sequence[str]
) -> tuple[pl.DataFrame, list[Repaired]]:
    """Run the declared steps over rows of a table, of which the columns alone are read that they look at.

    Where a step may look at any, all are read.

    Raises
    ------
    PartError
        If a step looks at others than it says, or adds or removes one.
    """
    if not all(step.own_columns for step in steps):
        return repair(rows.frame(), steps, keys)
    own = {column for step in steps for column in step.reads()}
    read = [column for column in rows.columns if column in {*own, *keys}]
    repaired, done = _alone(rows.select(read).with_row_index(POSITION), steps, keys)
    changed = repaired.select(column for column in read if column in own)
    kept = rows.at(repaired[POSITION]).with_columns(changed)
    del repaired
    return kept.frame(), done


def _alone(
    rows: pl.DataFrame, steps: Sequence[CleaningStep], keys: Sequence[str]
) -> tuple[pl.DataFrame, list[Repaired]]:
    """Run steps over the columns that they say they look at, and hold them to it: what they add would be lost."""
    done = list[Repaired]()
    for step in steps:
        given = rows.columns
        try:
            rows, repaired = repair(rows, [step], keys)
        except pl.exceptions.ColumnNotFoundError as error:
            if not {*step.reads()} <= {*given}:
                raise
            raise _undeclared(step, one_line(error)) from error
        if changed := sorted({*given} ^ {*rows.columns}):
            raise _undeclared(step, f"it adds or removes {', '.join(changed)}")
        done += repaired
    return rows, done


def _undeclared(step: CleaningStep, found: str) -> PartError:
    return PartError(
        f"{type(step).__name__}, whose `own_columns` is true, to need no columns but those it `reads` and the keys, "
        "and to change no others",
        found,
        "Correct its package: return those from `reads`, or leave `own_columns` out (`driftwheel parts --check` tries)",
    )
