"""What the columns of a table are: decided once over all of its rows, whatever their order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from tasks.profiling.reading import Table, collect
from tasks.profiling.writings import COLUMNS_AT_ONCE, Kind, Written, as_instants, missing_spellings, read_texts
from tasks.stores.progress import doing

MAX_SET = 50
"""Most distinct values that are all kept."""
_EXACT_ROWS = 200_000
"""Rows up to which distinct values are counted, not estimated."""
_EXACT_DISTINCT = 5000
_BINS = 24


@dataclass(frozen=True)
class ColumnProfile:
    """What is known of a column, over all rows but where it says otherwise.

    Attributes
    ----------
    kind : {"number", "integer", "boolean", "text", "instant", "empty"}
    missing, distinct : int
        Rows without a value, and different values; estimated beyond some thousands in a long table.
    least, most : float or datetime, optional
        Of numbers and instants.
    quantiles : tuple of float
        At 1, 25, 50, 75 and 99 % of the sample; empty but for numbers.
    values : tuple of (str, int)
        All of them, most frequent first, where they are at most 50; else empty. Counts are those of the sample.
    bins : tuple of int
        Rows of the sample in each of 24 equal parts between the 1 % and the 99 % quantile.
    words, length : float
        Of a text, as a mean over the sample.
    notes : tuple of str
        What is odd about how its values are written.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int
    least: float | datetime | None = None
    most: float | datetime | None = None
    quantiles: tuple[float, ...] = ()
    values: tuple[tuple[str, int], ...] = ()
    bins: tuple[int, ...] = ()
    words: float = 0.0
    length: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return self.rows - self.missing

    @property
    def is_number(self) -> bool:
        """Whether a model can take it as it is."""
        return self.kind in ("number", "integer", "boolean")


@dataclass(frozen=True, eq=False)
class Profile:
    """A table, and what its columns are.

    Attributes
    ----------
    missing : tuple of str
        Texts that stand for a missing value.
    sample : polars.DataFrame
        Some of its rows, in order, with the types decided.
    scan : polars.LazyFrame
        All of them.
    said : tuple of str
        What was left out of it.
    """

    address: str
    rows: int
    texts: bool
    separator: str
    missing: tuple[str, ...]
    columns: Mapping[str, ColumnProfile]
    sample: pl.DataFrame
    scan: pl.LazyFrame
    said: tuple[str, ...] = ()

    def exact_distinct(self, *sets: Sequence[str]) -> list[int]:
        """Count the different rows of each of some sets of columns."""
        counts = [pl.struct(each).n_unique().alias(str(number)) for number, each in enumerate(sets)]
        return list(collect(self.scan.select(counts)).row(0)) if counts else []


def profile_table(table: Table, read: Set[str] = frozenset()) -> Profile:
    """Decide what every column is.

    Parameters
    ----------
    read : set of str
        Columns that are surely read: of names that differ in capitals alone these stay.

    Raises
    ------
    SourceError
        If the table cannot be read to its end, or cannot be held under the names of its columns.
    """
    table = table.without_names_alike(read)
    found = dict(read_texts(table))
    written = {name: found[name] for name in table.columns}
    missing = missing_spellings(table, written) if table.texts else ()
    scan, sample = (_typed(frame, written, missing) for frame in (table.scan, table.sample.lazy()))
    rows = sample.collect()
    columns = dict(_describe(table, written, scan, rows))
    return Profile(table.address, table.rows, table.texts, table.separator, missing, columns, rows, scan, table.said)


# --- how values are written -------------------------------------------------------------------------------------------


def _typed(frame: pl.LazyFrame, written: Mapping[str, Written], missing: Sequence[str]) -> pl.LazyFrame:
    """Bring every column to what it is, as the platform's reader does."""
    schema, columns = frame.collect_schema(), []
    for name, each in written.items():
        column = pl.col(name)
        if schema[name] == pl.String:
            column = pl.when(~column.is_in(list(missing))).then(column)
            if each.kind == "instant":
                column = column.map_batches(as_instants, return_dtype=pl.Datetime("us", "UTC"), is_elementwise=True)
            elif each.kind == "boolean":
                column = column.str.to_lowercase() == "true"
            elif each.kind in ("number", "integer"):
                column = column.str.strip_chars().cast(pl.Float64 if each.kind == "number" else pl.Int64)
        if each.kind == "number":
            column = column.fill_nan(None)
        columns.append(column.alias(name))
    return frame.select(columns)


# --- what values there are --------------------------------------------------------------------------------------------


def _describe(
    table: Table, written: Mapping[str, Written], scan: pl.LazyFrame, sample: pl.DataFrame
) -> Iterator[tuple[str, ColumnProfile]]:
    names, exact = list(written), table.rows <= _EXACT_ROWS
    for begin in range(0, len(names), COLUMNS_AT_ONCE):
        doing(
            f"counting the values of columns {begin + 1} to {min(begin + COLUMNS_AT_ONCE, len(names))} of {len(names)}"
        )
        part = names[begin : begin + COLUMNS_AT_ONCE]
        asked = []
        for name in part:
            column = pl.col(name)
            known = column.drop_nulls()
            asked += [column.null_count().alias(f"{name}\0missing")]
            asked += [(known.n_unique() if exact else known.approx_n_unique()).alias(f"{name}\0distinct")]
            if written[name].kind in ("number", "integer", "instant"):
                asked += [column.min().alias(f"{name}\0least"), column.max().alias(f"{name}\0most")]
        found = collect(scan.select(asked)).row(0, named=True)
        few = [name for name in part if not exact and found[f"{name}\0distinct"] <= _EXACT_DISTINCT]
        if few:
            counts = (pl.col(name).drop_nulls().n_unique().alias(f"{name}\0distinct") for name in few)
            found |= collect(scan.select(counts)).row(0, named=True)
        small = [name for name in part if 0 < found[f"{name}\0distinct"] <= MAX_SET]
        sets = pl.DataFrame()
        if small:
            sets = collect(scan.select(pl.col(name).drop_nulls().unique().implode() for name in small))
        for name in part:
            own = {key: found.get(f"{name}\0{key}") for key in ("missing", "distinct", "least", "most")}
            own["values"] = _values(sample[name], sets[name].item()) if name in small else ()
            yield name, _column(name, written[name], table.rows, own, sample[name])


def _values(sample: pl.Series, all_of_them: pl.Series) -> tuple[tuple[str, int], ...]:
    """Return all values as texts with how often the sample holds them, the most frequent first."""
    counted = sample.drop_nulls().value_counts()
    counts = dict(zip(counted[sample.name].to_list(), counted["count"].to_list(), strict=True))
    found = [(as_text(value), counts.get(value, 0)) for value in all_of_them.to_list()]
    return tuple(sorted(found, key=lambda each: (-each[1], each[0])))


def as_text(value: object) -> str:
    """Write a value as the reader of a page, or a category, has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value + 0.0:.10g}"  # of zeros there is one
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)


def _column(name: str, written: Written, rows: int, own: Mapping[str, Any], sample: pl.Series) -> ColumnProfile:
    known = sample.drop_nulls()
    least, most = own["least"], own["most"]
    quantiles: tuple[float, ...] = ()
    bins: tuple[int, ...] = ()
    words = length = 0.0
    if written.kind == "text" and len(known):
        length = float(known.str.len_chars().mean() or 0)  # type: ignore[arg-type]
        words = float((known.str.count_matches(r"\S+")).mean() or 0)  # type: ignore[arg-type]
    if written.kind in ("number", "integer") and len(known):
        least, most = float(least), float(most)
        finite = known.cast(pl.Float64)
        finite = finite.filter(finite.is_finite())
        quantiles = tuple(float(finite.quantile(each) or 0.0) for each in (0.01, 0.25, 0.5, 0.75, 0.99))
        bins = _histogram(finite, quantiles[0], quantiles[-1])
    elif written.kind == "instant" and len(known):
        epochs = known.dt.epoch("us").cast(pl.Float64)
        bins = _histogram(epochs, float(epochs.min()), float(epochs.max()))  # type: ignore[arg-type]
    kind: Kind = "empty" if own["missing"] == rows else written.kind
    return ColumnProfile(
        name, kind, rows, own["missing"], own["distinct"], least, most, quantiles, own["values"], bins, words, length,
        written.notes,
    )  # fmt: skip


def _histogram(values: pl.Series, least: float, most: float) -> tuple[int, ...]:
    if not most > least:
        return ()
    places = ((values - least) / (most - least) * _BINS).floor().cast(pl.Int64, strict=False).clip(0, _BINS - 1)
    counts = dict(places.value_counts().iter_rows())
    return tuple(counts.get(place, 0) for place in range(_BINS))


def split_name(name: str) -> tuple[str, ...]:
    """Return the words of a column's name, in small letters.

    Examples
    --------
    >>> split_name("customerID_2")
    ('customer', 'id', '2')
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return tuple(re.findall(r"[^\W_]+", parted.lower()))
