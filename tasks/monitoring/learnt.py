"""The rows that a champion learnt from, as far as they are still there."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tasks.bundles.manifest import Manifest
from tasks.stores.known import Known


def learnt_rows(known: Known, manifest: Manifest, inputs: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
    """Read the raw rows that a champion learnt from; raises as `Lake.reading`.

    Returns
    -------
    rows : polars.DataFrame of shape (at most `manifest.rows`, n_inputs)
        In order of time.
    times : polars.Series
        Their event times.
    """
    clock = known.spec.time_column
    query = (
        known.scan("raw", columns=[*inputs, clock]).filter(pl.col(clock) <= manifest.learnt_until).tail(manifest.rows)
    )
    found = known.lake.collect("raw", query)
    return found.select(inputs), found[clock]
