"""Repair rows as the use case declares: nothing is learnt, so the same rows are repaired the same way at any time."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from expectations.parts import CleaningStep, Repaired


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
