"""Repair that needs no learning: duplicates, bounds, spellings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from expectations.cleaning_steps import CleaningStep, Clip, DropDuplicates, DropMissing, MapValues


@dataclass(frozen=True)
class Repaired:
    """What one step changed: rows left out, or values altered."""

    step: str
    rows_dropped: int = 0
    values_changed: int = 0


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
        before = rows
        match step:
            case DropDuplicates(drop_duplicates=columns):
                chosen = list(keys) if columns == "keys" else list(columns)
                rows = rows.unique(chosen, keep="last", maintain_order=True)
                done.append(Repaired(f"drop_duplicates({', '.join(chosen)})", len(before) - len(rows)))
            case DropMissing(drop_missing=columns):
                rows = rows.drop_nulls(list(columns))
                done.append(Repaired(f"drop_missing({', '.join(columns)})", len(before) - len(rows)))
            case Clip(clip=bounds):
                rows = rows.with_columns(pl.col(bounds.columns).clip(bounds.min, bounds.max))
                done.append(Repaired(f"clip({', '.join(bounds.columns)})", 0, _changed(before, rows, bounds.columns)))
            case MapValues(map=mapping):
                rows = rows.with_columns(pl.col(mapping.column).replace(dict(mapping.values)))
                done.append(Repaired(f"map({mapping.column})", 0, _changed(before, rows, [mapping.column])))
    return rows, done


def _changed(before: pl.DataFrame, after: pl.DataFrame, columns: Sequence[str]) -> int:
    return sum(int(before[column].ne_missing(after[column]).sum()) for column in columns)
