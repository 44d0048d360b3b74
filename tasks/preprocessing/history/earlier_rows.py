"""Earlier rows of a use case, as declared columns look back at them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from expectations.history import HistoryColumn
from tasks.preprocessing.history.looking_back import look_back_in
from tasks.preprocessing.history.series import NO_ROWS, EntitySeries, series_of

SeriesKey = tuple[str, tuple[str, ...]]
"""Which values by which entities: `of` and `by`."""


@dataclass(frozen=True)
class EarlierRows:
    """Earlier rows, by what is looked at and by whose; what is not among them has no rows.

    Attributes
    ----------
    columns : mapping of str to HistoryColumn
    series : mapping of (str, tuple of str) to EntitySeries
    clock : str
    """

    columns: Mapping[str, HistoryColumn]
    series: Mapping[SeriesKey, EntitySeries]
    clock: str

    @classmethod
    def of(cls, columns: Mapping[str, HistoryColumn], rows: pl.DataFrame, clock: str) -> EarlierRows:
        """Lay clean rows out, in order of time; columns that these lack have no earlier rows.

        Raises
        ------
        TrainingError
            If a column that is looked at holds no numbers, or entities cannot be identified.
        """
        wanted = {key_of(column) for column in columns.values()}
        series = {(of, by): series_of(rows, of, by, clock) for of, by in sorted(wanted) if {of, *by} <= {*rows.columns}}
        return cls(columns, series, clock)

    def beside(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows, in any order, with the columns that look back from them.

        Parameters
        ----------
        rows : polars.DataFrame
            Hold the clock, and the columns that tell entities; without the latter nothing is seen.
        """
        nothing = pl.repeat(None, len(rows), dtype=pl.Float64, eager=True)
        return rows.with_columns(
            look_back_in(column, self.series.get(key_of(column), NO_ROWS), rows, self.clock).alias(name)
            if {*column.by} <= {*rows.columns}
            else nothing.alias(name)
            for name, column in self.columns.items()
        )


def key_of(column: HistoryColumn) -> SeriesKey:
    """Return which earlier rows a column looks at."""
    return column.of, column.by


def columns_read(columns: Mapping[str, HistoryColumn]) -> Sequence[str]:
    """Return the columns of clean rows that some look at, and tell entities by."""
    return list(dict.fromkeys(name for column in columns.values() for name in (column.of, *column.by)))


def oldest_read(columns: Collection[HistoryColumn], since: datetime | None) -> datetime | None:
    """Return the oldest event time that rows from `since` on may look at; None where that is not bounded in time.

    Parameters
    ----------
    columns : collection of HistoryColumn
        At least one; only windows are bounded: the newest value of an entity may be however old.
    since : datetime, optional
        None where all rows look back.
    """
    if since is None or any(column.window is None for column in columns):
        return None
    return since - timedelta(seconds=max(column.seconds_back for column in columns))
