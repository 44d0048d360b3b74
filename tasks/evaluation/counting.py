"""Rows put into units of time, and counted in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from tasks.evaluation.columns import Array, Column, Counts, Tally


@dataclass(frozen=True)
class Sample:
    """Units of time with what was counted in them.

    Attributes
    ----------
    unit : {"day", "rows"}
    length : int
        Days or rows in a unit.
    starts, rows : ndarray of shape (n_units,)
        The first day since 1970 (or the number of the unit), and the rows.
    hours : ndarray of shape (24,)
        Rows by local hour; all zero without times.
    """

    unit: Literal["day", "rows"]
    length: int
    starts: Counts
    rows: Counts
    hours: Counts
    tallies: Mapping[str, Tally]

    @property
    def size(self) -> int:
        """Rows of all units."""
        return int(self.rows.sum())

    def merge(self, later: Sample) -> Sample:
        """Add the units of a later sample that was counted by the same columns; a day of both is one."""
        starts = np.concatenate([self.starts, later.starts if self.unit == "day" else later.starts + len(self.starts)])
        order = np.argsort(starts, kind="stable")
        _, first = np.unique(starts[order], return_index=True)

        def added(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(np.add.reduceat(np.concatenate([one, two])[order], first, axis=0))

        tallies = {}
        for name, mine in self.tallies.items():
            theirs = later.tallies[name]
            tallies[name] = Tally(
                added(mine.counts, theirs.counts),
                added(mine.missing, theirs.missing),
                added(mine.outside, theirs.outside),
                mine.sums + theirs.sums,
                mine.square + theirs.square,
                max(mine.cycle, theirs.cycle),
            )
        rows, hours = added(self.rows, later.rows), self.hours + later.hours
        return Sample(self.unit, self.length, starts[order][first], rows, hours, tallies)

    def coarsen(self, times: int) -> Sample:
        """Make units `times` as long; what is left over at the end joins the last one."""
        if times <= 1 or len(self.rows) <= 1:
            return self
        first = np.arange(max(1, len(self.rows) // times)) * times

        def added(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(np.add.reduceat(values, first, axis=0))

        tallies = {
            name: Tally(
                added(each.counts), added(each.missing), added(each.outside), each.sums, each.square, each.cycle
            )
            for name, each in self.tallies.items()
        }
        starts = self.starts[first] if self.unit == "day" else np.arange(len(first))
        return Sample(self.unit, self.length * times, starts, added(self.rows), self.hours, tallies)


def is_watched(dtype: pl.DataType) -> bool:
    """Whether values of a type are counted: numbers, booleans and texts, and a column without any value."""
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)


def in_order(frame: pl.DataFrame, times: pl.Series | None) -> tuple[pl.DataFrame, pl.Series | None]:
    """Bring rows into the order of their times."""
    if times is None or times.is_sorted():
        return frame, times
    order = times.arg_sort()
    return frame[order], times[order]


@dataclass(frozen=True)
class _Units:
    kind: Literal["day", "rows"]
    length: int
    starts: Counts
    of_row: Counts
    hour: Counts | None


def _units(size: int, times: pl.Series | None, timezone: str, kind: Literal["day", "rows"], length: int) -> _Units:
    hour = None
    if times is not None:
        local = times.dt.convert_time_zone(timezone)
        hour = local.dt.hour().fill_null(0).cast(pl.Int64).to_numpy()
    if kind == "rows" or times is None:
        count = max(1, size // length) if size else 0
        of_row = np.minimum(np.arange(size) // length, max(count - 1, 0))
        return _Units("rows", length, np.arange(count), of_row, hour)
    days = local.dt.date().cast(pl.Int32).fill_null(strategy="backward").fill_null(0).to_numpy() // length * length
    starts, of_row = np.unique(days, return_inverse=True)
    return _Units("day", length, starts.astype(np.int64), of_row.astype(np.int64), hour)


def count_units(
    columns: Mapping[str, Column],
    frame: pl.DataFrame,
    times: pl.Series | None,
    timezone: str,
    unit: Literal["day", "rows"],
    length: int,
    *,
    reference: bool,
) -> Sample:
    """Count rows, in the order of their times, in units of so many days of a zone, or of so many rows.

    Parameters
    ----------
    reference : bool
        Whether these rows are what others are held against: then a unit's values are outside where no other has them.
    """
    units = _units(len(frame), times, timezone, unit, length)
    count, present = len(units.starts), frozenset(frame.columns)
    rows = np.bincount(units.of_row, minlength=count)
    hours = np.zeros(24, dtype=np.int64) if units.hour is None else np.bincount(units.hour, minlength=24)
    tallies = {
        name: (_count_numbers if column.kind == "number" else _count_categories)(
            column, frame[name], units, count, reference
        )
        for name, column in columns.items()
        if name in present
    }
    return Sample(units.kind, units.length, units.starts, rows, hours, tallies)


def _count_numbers(column: Column, values: pl.Series, units: _Units, count: int, reference: bool) -> Tally:
    raw = values.cast(pl.Float64, strict=False).to_numpy()
    known = np.isfinite(raw)
    if not len(column.edges) and not values.dtype.is_numeric():  # without any value its type says nothing
        known = values.is_not_null().to_numpy()
    whole = bool(known.all())
    numbers, of_row = (raw, units.of_row) if whole else (raw[known], units.of_row[known])
    missing = np.zeros(count, dtype=np.int64) if whole else np.bincount(units.of_row[~known], minlength=count)
    bins = np.searchsorted(column.edges, numbers, "right")
    counts = np.bincount(of_row * column.bins + bins, minlength=count * column.bins).reshape(count, column.bins)
    if not len(column.edges):
        return Tally(counts, missing, np.zeros(count, dtype=np.int64), np.zeros(column.bins))
    measured = column.measure(numbers)
    sums = np.asarray(np.bincount(bins, weights=measured, minlength=column.bins), dtype=np.float64)
    square = float(measured @ measured)
    if reference:
        outside = _extreme(numbers, of_row, count)
    else:
        beyond = (numbers < column.least) | (numbers > column.greatest)
        outside = np.bincount(of_row[beyond], minlength=count)
    hour = units.hour if units.hour is None or whole else units.hour[known]
    cycle = _cycle(bins.astype(np.float64), hour) if reference else 1.0
    return Tally(counts, missing, outside, sums, square, cycle)


def _extreme(numbers: Array, of_row: Counts, count: int) -> Counts:
    """Count, in each unit, numbers beyond those of all other units."""
    outside = np.zeros(count, dtype=np.int64)
    if not len(numbers):
        return outside
    first = np.flatnonzero(np.concatenate([[True], np.diff(of_row) > 0]))
    units = of_row[first]
    for sign in (1.0, -1.0):
        extremes = np.maximum.reduceat(sign * numbers, first)
        top = int(extremes.argmax())
        others = np.delete(extremes, top)
        mine = sign * numbers[of_row == units[top]]
        outside[units[top]] += max(1, int((mine > others.max()).sum())) if len(others) else 1
    return outside


def _count_categories(column: Column, values: pl.Series, units: _Units, count: int, reference: bool) -> Tally:
    texts = values.cast(pl.String, strict=False)
    unknown = texts.is_null().to_numpy()
    missing = np.bincount(units.of_row[unknown], minlength=count)
    codes = texts.replace_strict(
        pl.Series([*column.categories], dtype=pl.String),
        pl.Series(range(len(column.categories)), dtype=pl.Int64),
        default=len(column.categories),
        return_dtype=pl.Int64,
    ).to_numpy()
    of_row, bins = units.of_row[~unknown], codes[~unknown]
    counts = np.bincount(of_row * column.bins + bins, minlength=count * column.bins).reshape(count, column.bins)
    outside = np.zeros(count, dtype=np.int64)
    none = np.zeros(column.bins)
    if column.known and reference:
        single = (
            pl.DataFrame({"value": texts, "unit": units.of_row})
            .drop_nulls()
            .group_by("value")
            .agg(pl.col("unit").min().alias("first"), pl.col("unit").max().alias("last"), pl.len())
            .filter(pl.col("first") == pl.col("last"))
        )
        if count > 1:
            outside = np.bincount(single["first"].to_numpy(), single["len"].to_numpy(), minlength=count).astype(
                np.int64
            )
    elif column.known:
        new = ~texts.is_in(list(column.known)).fill_null(value=True).to_numpy()
        outside = np.bincount(units.of_row[new], minlength=count)
    hour = None if units.hour is None else units.hour[~unknown]
    cycle = _cycle((bins == 0).astype(np.float64), hour) if reference else 1.0
    return Tally(counts, missing, outside, none, 0.0, cycle)


def _cycle(values: Array, hour: Counts | None) -> float:
    """Mean square between hours of day over that within them: about one where the hour says nothing."""
    if hour is None or len(values) < 2:
        return 1.0
    rows = np.bincount(hour, minlength=24)
    hours = int((rows > 0).sum())
    centred = values - values.mean()
    total = float((centred**2).sum())
    if hours < 2 or len(values) <= hours or total <= 0:
        return 1.0
    sums = np.bincount(hour, weights=centred, minlength=24)
    between = float((sums**2 / np.maximum(rows, 1)).sum())
    within = max(total - between, 1e-12 * total)
    return (between / (hours - 1)) / (within / (len(values) - hours))
