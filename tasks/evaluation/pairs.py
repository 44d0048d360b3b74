"""A reference and a window, counted alike, and the series that are compared between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtri

from tasks.evaluation.columns import Column, describe, settle
from tasks.evaluation.counting import Sample, in_order
from tasks.evaluation.dependence import (
    Spread,
    spread_of,
    variance_of_mean,
)
from tasks.evaluation.sketches import RUNS, Reference

Array = npt.NDArray[np.float64]

FULL_DAY = 0.9
_CHUNK = 200
TINY = 1e-12


@dataclass(frozen=True)
class Compared:
    """A reference with the window to hold against it.

    Attributes
    ----------
    times : polars.Series of shape (n_rows,), optional
        Event times of the window's rows.
    independent : bool
        Whether rows are known to be independent of each other, as their order was drawn.
    """

    reference: Reference
    window: pl.DataFrame
    times: pl.Series | None = None
    independent: bool = False


@dataclass(frozen=True)
class Pair:
    """Reference and window counted alike."""

    columns: dict[str, Column]
    before: Sample
    now: Sample
    own: Sample
    """The reference in units of its own length, by which its memory is measured."""
    units: float
    """How many units of time the window is long, with fractions."""
    echoes: frozenset[str] = frozenset()
    """Views of columns that are among these: what is missing of them is counted there."""
    constant: Mapping[str, float] = field(default_factory=dict)
    """Columns of the window that have one value alone, as they never had for so long, and how likely that is."""


def pair_of(table: Compared) -> Pair:
    """Count a window as its reference is counted; a short reference is counted again, in bins of both."""
    pair, window = _counted(table), table.window
    echoes = frozenset(each.name for each in table.reference.views if each.column in pair.columns)
    constant = {
        name: chance
        for name, column in pair.columns.items()
        if column.repeats and (chance := column.repeats.chance_of_constant(window[name])) is not None
    }
    return replace(pair, echoes=echoes, constant=constant)


def _counted(table: Compared) -> Pair:
    reference = table.reference
    window, times = in_order(table.window, table.times)
    names = [name for name in reference.columns if name in window.columns]
    kept = {name: reference.columns[name] for name in names}
    own = reference.sample
    if reference.values is None:
        length = own.length
        if own.unit == "rows":
            length *= max(1, -(-len(window) // (RUNS * own.length)))
        now = replace(reference, columns=kept).count(window, times, length=length)
        before = own.coarsen(length // own.length) if length > own.length else own
        return Pair(kept, before, now, own, _units_of(now, own, times, reference.timezone))
    values, moments = reference.values, reference.moments
    both = {
        name: describe(values[name], window[name])
        if column.kind == "number" and len(column.edges) and window[name].dtype.is_numeric()
        else column
        for name, column in kept.items()
    }
    length = own.length if own.unit == "day" else max(1, -(-max(len(values), len(window)) // RUNS))
    rebuilt = replace(reference, columns=both)
    counted = rebuilt.count(values, moments, length=length)
    both = {name: settle(column, counted.tallies[name]) for name, column in both.items()}
    samples = (counted, rebuilt.count(window, times, length=length))
    before = _with_outside(samples[0], own)
    finer = before if length == own.length else rebuilt.count(values, moments, length=own.length)
    return Pair(both, before, samples[1], finer, _units_of(samples[1], own, times, reference.timezone))


def _with_outside(counted: Sample, own: Sample) -> Sample:
    """Take what no other unit has from the sketch: counted against itself, nothing of a reference is outside."""
    tallies = {}
    for name, tally in counted.tallies.items():
        outside = np.zeros(len(counted.rows), dtype=np.int64)
        for unit in np.flatnonzero(own.tallies[name].outside):
            at = min(int(unit * len(outside) / len(own.rows)), len(outside) - 1)
            outside[at] += own.tallies[name].outside[unit]
        tallies[name] = replace(tally, outside=outside)
    return replace(counted, tallies=tallies)


def padded(pair: Sample, names: list[str], bins: int) -> Array:
    """Gather the counts of columns, shape (n_columns, n_units, n_bins)."""
    found = np.zeros((len(names), len(pair.rows), bins))
    for index, name in enumerate(names):
        counts = pair.tallies[name].counts
        found[index, :, : counts.shape[1]] = counts
    return found


def scores_of(share: Array) -> Array:
    """Orthonormal scores of bins under pooled shares, shape (n_columns, 4, n_bins); zero where a column has too few."""
    middle = np.cumsum(share, axis=1) - share / 2
    middle = np.clip(middle, 1e-9, 1 - 1e-9)
    centred = 2 * middle - 1
    made: list[Array] = [np.ones_like(share)]
    for raw in (ndtri(middle), centred**2, centred**3, centred**4):
        value = raw.copy()
        for _ in range(2):
            for earlier in made:
                value = value - (value * earlier * share).sum(1, keepdims=True) * earlier
        length = np.sqrt((value**2 * share).sum(1, keepdims=True))
        made.append(np.where(length > 1e-6, value / np.maximum(length, 1e-6), 0))
    return np.stack(made[1:], axis=1)


@dataclass(frozen=True)
class Series:
    """Sums over units of series in both samples, and what follows from them."""

    difference: Array
    deviations: tuple[Array, Array]
    rows: tuple[Array, Array]
    row: Array
    spread: Spread | None
    variances: tuple[Array, Array]


def series_of(pair: Pair, sums: tuple[Array, Array], rows: tuple[Array, Array], row: Array) -> Series:
    """Compare means of series.

    Parameters
    ----------
    sums, rows : tuple of ndarray of shape (n_series, n_units)
        Of the reference and of the window.
    row : ndarray of shape (n_series,)
        Variance of one row.
    """
    totals = tuple(each.sum(1) for each in rows)
    means = [each.sum(1) / np.maximum(total, 1) for each, total in zip(sums, totals, strict=True)]
    deviations = tuple(
        (each - count * mean[:, None]) / np.maximum(count.mean(1), TINY)[:, None]
        for each, count, mean in zip(sums, rows, means, strict=True)
    )
    spread = spread_of(*deviations)
    variances = [np.zeros((len(row), 1))] * 2
    lengths = lengths_of(pair)
    longest = 0 if lengths[0] >= lengths[1] else 1
    in_unit = totals[longest] / max(lengths[longest], TINY)
    if spread is not None:
        variances = [
            variance_of_mean(spread, length, total, in_unit, row) for length, total in zip(lengths, totals, strict=True)
        ]
    before, now = variances
    return Series(means[1] - means[0], deviations, totals, row, spread, (before, now))


def lengths_of(pair: Pair) -> tuple[float, float]:
    """Return how many units the samples are long, with fractions."""
    before = pair.before.size / pair.now.length if pair.before.unit == "rows" else float(len(pair.before.rows))
    return before, pair.units


def _units_of(now: Sample, own: Sample, times: pl.Series | None, timezone: str) -> float:
    """Return how many units a window is long: of its first and last day the hours it reaches into, weighed by rows.

    A day that is begun late is no whole one, and one of several days that make a unit is no whole unit.
    """
    if now.unit == "rows" or times is None:
        return now.size / now.length
    local = times.drop_nulls().dt.convert_time_zone(timezone)
    if local.is_empty() or not own.hours.sum():
        return float(len(now.rows))
    share = own.hours / own.hours.sum()
    days, hours = local.dt.date(), local.dt.hour()
    first, last = int(hours[0]), int(hours[-1])
    parts = [slice(first, last + 1)] if days[0] == days[-1] else [slice(first, None), slice(last + 1)]
    ends = [float(share[part].sum()) for part in parts]
    between = days.n_unique() - len(ends)
    return float(between + sum(1.0 if each >= FULL_DAY else each for each in ends)) / now.length


def covered_by(pair: Pair) -> float:
    """Return which share of the reference's rows lies in hours of day that the window has."""
    hours = pair.before.hours
    return float(hours[pair.now.hours > 0].sum() / max(hours.sum(), 1)) if hours.sum() else 1.0


def is_numeric(column: Column) -> bool:
    """Whether scores of numbers are compared, and not shares."""
    return column.kind == "number" and len(column.edges) > 0


def chunks_of(pair: Pair) -> Iterator[list[str]]:
    """Columns that are judged together: of numbers, and of categories."""
    for numeric in (True, False):
        names = [name for name, column in pair.columns.items() if is_numeric(column) == numeric]
        for start in range(0, len(names), _CHUNK):
            yield names[start : start + _CHUNK]
