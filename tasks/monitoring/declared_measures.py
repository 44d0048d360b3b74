"""The measures that a use case declares, of a window."""

from __future__ import annotations

from typing import Any

import polars as pl

from expectations.measures import Seen
from tasks.bundles.bundle import Bundle
from tasks.monitoring.learnt import learnt_rows
from tasks.stores.known import Known


def measure_declared(rows: pl.DataFrame, times: pl.Series, champion: Bundle, known: Known) -> dict[str, Any]:
    """Return what the declared measures say of a window, by name; nothing where none is declared.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        As they were asked about, in order of time.
    times : polars.Series of shape (n_rows,)
        Their event times.
    """
    spec = known.spec
    inputs = tuple(name for name in champion.inputs if name in rows.columns)

    def learnt() -> tuple[pl.DataFrame, pl.Series | None]:
        found, moments = learnt_rows(known, champion.manifest, inputs)
        return found, moments if spec.timed else None

    seen = Seen(
        rows.select(inputs), times if spec.timed else None, inputs, champion.reference(), learnt, spec.model.seed
    )
    return {each.measure: dict(each.of(seen)) for each in spec.monitoring.measures}
