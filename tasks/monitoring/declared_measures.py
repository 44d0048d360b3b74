"""The measures that a use case declares, of a window."""

from __future__ import annotations

import logging

import polars as pl

from expectations.errors import DriftwheelError
from expectations.measures import Measure, MeasuredRows
from tasks.bundles.bundle import Bundle
from tasks.monitoring.learnt import learnt_rows
from tasks.stores.known import Known
from tasks.stores.measured_parts import MeasureFound

_log = logging.getLogger("driftwheel.tasks")


def measure_declared(rows: pl.DataFrame, times: pl.Series, champion: Bundle, known: Known) -> dict[str, MeasureFound]:
    """Return what the declared measures say of a window, by name; nothing where none is declared.

    Of a measure that raises, or finds what JSON cannot carry, that is said: nothing is decided by it, and the window is
    measured without it. Rows that cannot be read are no measure's fault; that is raised (as of `learnt_rows`).

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

    seen = MeasuredRows(
        rows.select(inputs), times if spec.timed else None, inputs, champion.reference(), learnt, spec.model.seed
    )
    return {each.measure: _said(each, seen) for each in spec.monitoring.measures}


def _said(measure: Measure, seen: MeasuredRows) -> MeasureFound:
    try:
        return MeasureFound.of(measure.of(seen))
    except DriftwheelError:
        raise
    except Exception as error:  # noqa: BLE001 - packages add measures, and they raise anything
        reason = f"it failed: {type(error).__name__}: {error}"
        _log.warning("the measure %s: %s", measure.measure, reason, exc_info=error)
        return MeasureFound(f"{measure.measure} is undetermined: {reason}", "undetermined", reason)
