"""What a row sees of the rows before it: for one row by bisection, for many at once, and bit by bit the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from expectations.history import HistoryColumn
from tasks.preprocessing.formulas import finite_or_none
from tasks.preprocessing.history.aggregates import AGGREGATES, LAST, Aggregate, Floats, Places
from tasks.preprocessing.history.series import SECOND, EntitySeries, entity_codes

_SMALL = -(2**62)
NO_BOUNDS = (0, 0)
"""Of an entity that has no rows."""


@dataclass(frozen=True)
class LookBack:
    """How a column looks back, in microseconds.

    Attributes
    ----------
    until : int
        How long before a row's time the newest row lies that it may see.
    itself : bool
        Whether a row at that very time is seen; never the row itself, nor one at its time.
    span : int, optional
        How long the window is that ends there, without its first instant; None where one value is looked at.
    back : int
        Of one value, how many rows before the newest it lies.
    aggregate : Aggregate
    """

    until: int
    itself: bool
    span: int | None
    back: int
    aggregate: Aggregate

    @classmethod
    def of(cls, column: HistoryColumn) -> LookBack:
        """Return how a declared column looks back."""
        seconds = column.lag.seconds if column.lag is not None else column.known_after.seconds
        until = seconds * SECOND
        if column.window is None or column.as_ is None:
            return cls(until, until > 0, None, (column.rows or 1) - 1, LAST)
        return cls(until, until > 0, column.window.seconds * SECOND, 0, AGGREGATES[column.as_])

    def oldest(self, at: int) -> int:
        """Return from when on rows must be there for a row at a time; of one value the newest of those before, too."""
        return at - self.until - (self.span or 0)

    def newest(self, at: int) -> int:
        """Return the newest time that a row at a time sees."""
        return at - self.until if self.itself else at - self.until - 1

    def one(self, series: EntitySeries, bounds: tuple[int, int], at: int) -> tuple[float | None, int]:
        """Return what a row at a time sees of an entity, and of how many values; None where that is nothing.

        Parameters
        ----------
        bounds : (int, int)
            Where the entity's rows begin and end.
        """
        first, after = bounds
        times = series.times[first:after]
        end = int(np.searchsorted(times, at - self.until, side="right" if self.itself else "left")) - self.back
        if self.span is None:
            begin = max(end - 1, 0)
        else:
            begin = int(np.searchsorted(times, at - self.until - self.span, side="right"))
        end = max(end, begin)
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.aggregate.of_values(series.values[first + begin : first + end])
        return finite_or_none(found), end - begin

    def many(self, series: EntitySeries, bounds: tuple[int, int], at: Places) -> tuple[Places, Places]:
        """Return where the values begin and end that rows at some times see of an entity."""
        first, after = bounds
        times = series.times[first:after]
        end = np.searchsorted(times, at - self.until, side="right" if self.itself else "left") - self.back
        if self.span is None:
            begin = np.maximum(end - 1, 0)
        else:
            begin = np.searchsorted(times, at - self.until - self.span, side="right")
        return first + begin, first + np.maximum(end, begin)


def look_back_in(column: HistoryColumn, series: EntitySeries, rows: pl.DataFrame, clock: str) -> pl.Series:
    """Return what each of many rows sees, bit by bit what `LookBack.one` gives.

    Parameters
    ----------
    rows : polars.DataFrame
        Holds `column.by` and the clock, in any order; without a time or an entity nothing is seen.

    Returns
    -------
    polars.Series of float of shape (n_rows,)
    """
    how = LookBack.of(column)
    codes, names = entity_codes(rows, column.by)
    at = rows[clock].dt.epoch("us").fill_null(_SMALL).to_numpy()
    seen = (codes >= 0) & (at != _SMALL)
    first, after = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    order = np.argsort(codes, kind="stable")
    cuts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for place, name in enumerate(names):
        bounds = series.entities.get(name)
        if bounds is not None:
            mine = order[cuts[place] : cuts[place + 1]]
            first[mine], after[mine] = how.many(series, bounds, at[mine])
    with np.errstate(over="ignore", invalid="ignore"):
        found: Floats = how.aggregate.of_windows(series.values, first, after)
    found = np.where(seen & np.isfinite(found), found, np.nan)
    return pl.Series(found, dtype=pl.Float64).fill_nan(None)
