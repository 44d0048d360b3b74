"""What came since a batch: counted in the tables, however many collections brought it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH


@dataclass(frozen=True)
class Arrived:
    """Rows of the batches from `after` (not included) to `until`.

    Attributes
    ----------
    new, corrected : int
        Rows with keys never seen before, and rows of which there was an earlier version.
    clean : int
        Of both, those that passed their expectations.
    quarantined : int
        Rows that failed them.
    """

    after: int
    until: int
    new: int
    corrected: int
    clean: int
    quarantined: int


def count_arrivals(lake: Lake, keys: Sequence[str], after: int) -> Arrived:
    """Count what came after a batch."""
    raw = lake.scan("raw").select(*keys, BATCH).collect()
    came = raw.filter(pl.col(BATCH) > after)
    rows = came.select(keys).unique()
    corrected = rows.join(raw.filter(pl.col(BATCH) <= after), on=keys, how="semi")
    passed, failed = (
        lake.scan(table).filter(pl.col(BATCH) > after).select(keys).collect()
        if lake.version(table) is not None
        else raw.select(keys).head(0)
        for table in ("clean", "quarantine")
    )
    until = raw[BATCH].max()
    return Arrived(
        after,
        int(until) if isinstance(until, int) else after,
        len(rows) - len(corrected),
        len(corrected),
        passed.n_unique(),
        len(failed),
    )
