"""Repair rows as the use case declares: nothing is learnt, so the same rows are repaired the same way at any time."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from expectations.parts import CleaningStep, Repaired
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
    """
    if not all(step.own_columns for step in steps):
        return repair(rows.frame(), steps, keys)
    own = {column for step in steps for column in step.reads()}
    read = [column for column in rows.columns if column in {*own, *keys}]
    repaired, done = repair(rows.select(read).with_row_index(POSITION), steps, keys)
    changed = repaired.select(column for column in read if column in own)
    kept = rows.at(repaired[POSITION]).with_columns(changed)
    del repaired
    return kept.frame(), done
