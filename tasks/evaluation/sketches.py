"""Sketches: a table reduced to counts by unit of time, that add up: a year is the sum of its days.

A unit is a local day of event time where the reference has at least eight of them, else a run of rows. Of each column a
unit keeps how many values lie in each of 32 bins (edges at the reference's quantiles, equally far apart in normal
score, so fine in the tails) or are of each of its 20 commonest categories, how many are missing, and how many are
outside of all that was seen before. Adding units is adding counts; their order is kept, since what is neighbouring in
time is alike, and a test that does not know it gives false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtr

from expectations.errors import BundleError

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FORMAT = 2
SCORES: Array = ndtr(np.linspace(-3.1, 3.1, 31))
MAX_CATEGORIES = 20
MAX_KNOWN = 1000
"""Most different categories of a column that are remembered; with more of them, none counts as new."""
MAX_UNITS = 512
RUNS = 128
MIN_DAYS = 8
SMALL = 2000
"""Fewer rows of a reference are kept as they are: its quantiles alone would not resolve what a window holds."""
_EDGE_ROWS = 100_000
_FAR = 4.0


@dataclass(frozen=True)
class Column:
    """How the values of a column are counted.

    Attributes
    ----------
    edges : ndarray of shape (n_bins - 1,)
        A value equal to an edge belongs to the bin above; none for categories.
    categories, known : tuple of str
        The commonest ones, and all of the reference (none where there are more than 1,000).
    least, greatest : float
        Of the finite values of the reference.
    mean, spread : float
        Mean and standard deviation of the reference, measured as `measure` does: one outlier does not decide them.
    centres : ndarray of shape (n_bins,)
        Mean of the reference's values in each bin, measured likewise.
    """

    kind: Literal["number", "category"]
    edges: Array
    categories: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    least: float = math.nan
    greatest: float = math.nan
    mean: float = math.nan
    spread: float = math.nan
    centres: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def bins(self) -> int:
        """How many bins values fall into."""
        return len(self.edges) + 1 if self.kind == "number" else len(self.categories) + 1

    @property
    def middle(self) -> float:
        """The edge in the middle, about the reference's median."""
        return float(self.edges[len(self.edges) // 2])

    def measure(self, numbers: Array) -> Array:
        """Measure numbers from the middle edge, in distances of the outermost edges and at most four of them."""
        half = float(self.edges[-1] / 2 - self.edges[0] / 2) or abs(self.middle) / 2 or 1.0
        with np.errstate(over="ignore"):
            return np.asarray(np.clip((numbers / 2 - self.middle / 2) / half, -_FAR, _FAR))


@dataclass(frozen=True)
class Tally:
    """A column over the units of a sample.

    Attributes
    ----------
    counts : ndarray of shape (n_units, n_bins)
    missing, outside : ndarray of shape (n_units,)
        Outside are numbers beyond the reference's least and greatest and categories it never had; in the reference
        itself, what no *other* unit of it has, which is how many to expect where nothing changed.
    sums : ndarray of shape (n_bins,)
        Sum of the values in each bin over all units, as `Column.measure` measures them.
    square : float
        Sum of their squares.
    cycle : float
        How much more the hour of day says about the values than it would by chance (1: nothing); of a reference.
    """

    counts: Counts
    missing: Counts
    outside: Counts
    sums: Array
    square: float = 0.0
    cycle: float = 1.0


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


@dataclass(frozen=True)
class Reference:
    """What a table looked like, and how a window is counted to be held against it.

    Attributes
    ----------
    columns : mapping of str to Column
    sample : Sample
    unwatched : mapping of str to str
        Columns of a type that is not watched, with that type.
    timezone : str
        Whose days are the units.
    values : polars.DataFrame or None
        The rows themselves, in order of time, where they are fewer than 2,000.
    moments : polars.Series or None
        Their times, where they have some.
    """

    columns: Mapping[str, Column]
    sample: Sample
    unwatched: Mapping[str, str]
    timezone: str = "UTC"
    values: pl.DataFrame | None = None
    moments: pl.Series | None = None

    def only(self, names: Collection[str]) -> Reference:
        """Leave out columns that are not among these."""
        kept = {name: column for name, column in self.columns.items() if name in names}
        return replace(
            self, columns=kept, unwatched={name: each for name, each in self.unwatched.items() if name in names}
        )

    def count(self, frame: pl.DataFrame, times: pl.Series | None = None, *, length: int | None = None) -> Sample:
        """Count a window by this reference's columns, into units as long as its own."""
        frame, times = in_order(frame, times)
        units = _units(len(frame), times, self.timezone, self.sample.unit, length or self.sample.length)
        return _count(self.columns, frame, units, reference=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        sample = self.sample
        if self.values is not None:
            return {
                "timezone": self.timezone,
                "unwatched": dict(self.unwatched),
                "moments": None if self.moments is None else self.moments.dt.epoch("us").to_list(),
                "values": {
                    name: {"kind": column.kind, "middle": self._middle(name), "values": self.values[name].to_list()}
                    for name, column in self.columns.items()
                },
            }
        return {
            "unit": sample.unit,
            "length": sample.length,
            "timezone": self.timezone,
            "starts": _text(sample.starts),
            "rows": _text(sample.rows),
            "hours": _text(sample.hours),
            "unwatched": dict(self.unwatched),
            "columns": {
                name: {
                    "kind": column.kind,
                    "middle": self._middle(name),
                    "edges": column.edges.tolist(),
                    "categories": list(column.categories),
                    "known": list(column.known),
                    "least": column.least,
                    "greatest": column.greatest,
                    "mean": column.mean,
                    "spread": column.spread,
                    "centres": column.centres.tolist(),
                    "counts": _text(sample.tallies[name].counts),
                    "missing": _text(sample.tallies[name].missing),
                    "outside": _text(sample.tallies[name].outside),
                    "sums": sample.tallies[name].sums.tolist(),
                    "square": sample.tallies[name].square,
                    "cycle": sample.tallies[name].cycle,
                }
                for name, column in self.columns.items()
            },
        }

    def _middle(self, name: str) -> float | str | None:
        """Return a value as there are many, to show."""
        column = self.columns[name]
        if column.kind == "category":
            return column.categories[0] if column.categories else None
        return column.middle if len(column.edges) else None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reference:
        """Read what `to_dict` wrote."""
        if "values" in data:
            values = pl.DataFrame(
                pl.Series(name, each["values"], pl.Float64 if each["kind"] == "number" else pl.String, strict=False)
                for name, each in data["values"].items()
            )
            moments = data["moments"]
            times = None if moments is None else pl.Series(moments, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
            return replace(sketch(values, times, timezone=data["timezone"]), unwatched=data["unwatched"])
        columns: dict[str, Column] = {}
        tallies: dict[str, Tally] = {}
        for name, each in data["columns"].items():
            column = columns[name] = Column(
                each["kind"],
                np.array(each["edges"], dtype=np.float64),
                tuple(each["categories"]),
                tuple(each["known"]),
                _number(each["least"]),
                _number(each["greatest"]),
                _number(each["mean"]),
                _number(each["spread"]),
                np.array([*map(_number, each["centres"])], dtype=np.float64),
            )
            tallies[name] = Tally(
                _numbers(each["counts"]).reshape(-1, column.bins),
                _numbers(each["missing"]),
                _numbers(each["outside"]),
                np.array([*map(_number, each["sums"])], dtype=np.float64),
                _number(each["square"]),
                _number(each["cycle"]),
            )
        sample = Sample(
            data["unit"],
            data["length"],
            _numbers(data["starts"]),
            _numbers(data["rows"]),
            _numbers(data["hours"]),
            tallies,
        )
        return cls(columns, sample, data["unwatched"], data["timezone"])


def _text(values: Counts) -> str:
    return " ".join(map(str, values.ravel().tolist()))


def _numbers(text: str) -> Counts:
    return np.array(text.split(), dtype=np.int64)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def sketch(frame: pl.DataFrame, times: pl.Series | None = None, *, timezone: str = "UTC") -> Reference:
    """Reduce a reference to its sketch.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, n_columns)
        Raw rows. Numbers, booleans and texts are watched.
    times : polars.Series of shape (n_rows,), optional
        Event times; without them the rows are taken to be in their order.
    timezone : str
        Whose days are the units, where there are times.
    """
    frame, times = in_order(frame, times)
    watched = [name for name, dtype in frame.schema.items() if is_watched(dtype)]
    unwatched = {name: str(dtype) for name, dtype in frame.schema.items() if name not in watched}
    frame = frame.select(watched)
    days = 0 if times is None else times.drop_nulls().dt.convert_time_zone(timezone).dt.date().n_unique()
    unit: Literal["day", "rows"] = "day" if days >= MIN_DAYS else "rows"
    length = 1 if unit == "day" else max(1, -(-len(frame) // RUNS))
    columns = {name: describe(frame[name]) for name in watched}
    sample = _count(columns, frame, _units(len(frame), times, timezone, unit, length), reference=True)
    columns = {name: settle(column, sample.tallies[name]) for name, column in columns.items()}
    while len(sample.rows) > MAX_UNITS:
        sample = sample.coarsen(2)
    if len(frame) >= SMALL:
        return Reference(columns, sample, unwatched, timezone)
    kept = frame.with_columns(pl.col(name).cast(pl.Float64) for name in watched if columns[name].kind == "number")
    kept = kept.with_columns(pl.col(name).cast(pl.String) for name in watched if columns[name].kind == "category")
    return Reference(columns, sample, unwatched, timezone, kept, times)


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


def describe(values: pl.Series, more: pl.Series | None = None) -> Column:
    """Say how a column is counted, by its values in the reference.

    Parameters
    ----------
    more : polars.Series, optional
        A window's values: half of the edges are then its quantiles, for a reference too short to resolve them.
    """
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        texts = values.drop_nulls().cast(pl.String).alias("value")
        tally = texts.value_counts(name="count").sort(["count", "value"], descending=[True, False])
        names = tally["value"].head(MAX_KNOWN + 1).to_list()
        known = tuple(names) if len(names) <= MAX_KNOWN else ()
        return Column("category", np.zeros(0), tuple(names[:MAX_CATEGORIES]), known)
    numbers = finite(values)
    if not len(numbers):
        return Column("number", np.zeros(0), centres=np.zeros(1))
    if more is None:
        edges = _quantiles(numbers, SCORES)
    else:
        joint = [_quantiles(each, SCORES[start::2]) for start, each in ((0, numbers), (1, finite(more))) if len(each)]
        edges = np.unique(np.concatenate(joint))
    return Column("number", edges, (), (), float(numbers.min()), float(numbers.max()))


def settle(column: Column, tally: Tally) -> Column:
    """Take mean, spread and centres of a reference from what was counted of it."""
    counts, total = tally.counts.sum(0), int(tally.counts.sum())
    if column.kind == "category" or not total or not len(column.edges):
        return column
    mean = float(tally.sums.sum()) / total
    spread = math.sqrt(max(tally.square / total - mean**2, 0.0))
    spread = spread if column.edges[-1] > column.edges[0] else 0.0
    fallback = column.measure(np.concatenate([column.edges[:1], column.edges]))
    centres = np.where(counts > 0, tally.sums / np.maximum(counts, 1), fallback)
    return replace(column, mean=mean, spread=spread, centres=centres)


def _quantiles(numbers: Array, shares: Array) -> Array:
    """Different quantiles, of every k-th number where there are many: an edge needs no exact place."""
    ordered = np.sort(numbers[:: max(1, len(numbers) // _EDGE_ROWS)])
    return np.unique(ordered[np.minimum((shares * len(ordered)).astype(np.int64), len(ordered) - 1)])


def finite(values: pl.Series) -> Array:
    """Finite numbers of a column, in its order."""
    numbers: Array = values.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
    return numbers[np.isfinite(numbers)]


def _count(columns: Mapping[str, Column], frame: pl.DataFrame, units: _Units, *, reference: bool) -> Sample:
    count = len(units.starts)
    rows = np.bincount(units.of_row, minlength=count)
    hours = np.zeros(24, dtype=np.int64) if units.hour is None else np.bincount(units.hour, minlength=24)
    tallies = {
        name: (_count_numbers if column.kind == "number" else _count_categories)(
            column, frame[name], units, count, reference
        )
        for name, column in columns.items()
        if name in frame.columns
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


def references_to_dict(references: Sequence[Reference]) -> dict[str, Any]:
    """Return what JSON can carry of the references of a bundle."""
    return {"format": FORMAT, "tables": [each.to_dict() for each in references]}


def references_from_dict(data: Mapping[str, Any]) -> list[Reference]:
    """Read what `references_to_dict` wrote; a bundle of before sketches has none.

    Raises
    ------
    BundleError
        If a newer driftwheel wrote it.
    """
    if not isinstance(data.get("format"), int):  # before, a column's name led to what was kept of it
        return []
    if data["format"] != FORMAT:
        raise BundleError(
            f"a reference of format {FORMAT}", f"format {data['format']}", "Update driftwheel to that which packed it"
        )
    return [Reference.from_dict(each) for each in data["tables"]]
