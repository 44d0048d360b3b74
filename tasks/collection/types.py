"""Bring columns to the types that a use case declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from expectations.column_types import TYPES_BY_NAME, ColumnType
from expectations.data import Clock
from expectations.errors import SourceError
from tasks.collection.clocks import fitting_formats, in_zone, read_texts
from tasks.collection.numbers import whole_numbers

TYPES = {name: each.table for name, each in TYPES_BY_NAME.items()}
_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
TRUE_OR_FALSE = ("true", "false")
"""Texts that are read as booleans where nothing is declared."""


def type_of(dtype: pl.DataType) -> ColumnType | None:
    """Return the type that a column of a table has; None for one that is none of ours."""
    return next((name for name, each in TYPES.items() if each == dtype), None)


def holds(dtype: pl.DataType) -> bool:
    """Whether a table of the lake can hold values of a type: numbers, texts, booleans, dates and times."""
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Date, pl.Null) or isinstance(dtype, pl.Datetime)


def plain(frame: pl.DataFrame, clock: Clock | None) -> pl.DataFrame:
    """Bring the types a source may hold to those the lake keeps; columns of others are left as they are."""
    columns = []
    for name, dtype in frame.schema.items():
        values = frame[name]
        if isinstance(dtype, pl.Categorical | pl.Enum):
            columns.append(values.cast(pl.String))
        elif isinstance(dtype, pl.Decimal) and dtype.scale == 0:
            columns.append(_whole(values))
        elif isinstance(dtype, pl.Decimal) or dtype == pl.Float32:
            columns.append(values.cast(pl.Float64))
        elif dtype.is_integer():
            columns.append(_whole(values))
        elif _is_clock(values, clock) and (dtype == pl.Date or _is_local(dtype)):  # its zone asks for the other keys
            columns.append(values.cast(pl.Datetime("us")))
        elif dtype == pl.Date or isinstance(dtype, pl.Datetime):
            columns.append(instants(values, clock))
        else:
            columns.append(values)
    return pl.DataFrame(columns)


def _is_clock(values: pl.Series, clock: Clock | None) -> bool:
    return clock is not None and values.name == clock.column


def _is_local(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Datetime) and dtype.time_zone is None


def _whole(values: pl.Series) -> pl.Series:
    """Keep whole numbers exactly: as integers, or as texts where 64 bits do not hold them."""
    exact = values.cast(pl.Int64, strict=False)
    return exact if exact.null_count() == values.null_count() else values.cast(pl.String)


def cast_column(
    values: pl.Series,
    wanted: ColumnType,
    source: str,
    clock: Clock | None,
    form: str | None = None,
    groups: pl.Series | None = None,
    report: Callable[[str], None] | None = None,
) -> pl.Series:
    """Bring a column to a declared type.

    Parameters
    ----------
    form : str, optional
        Declared format of an instant.
    groups, report : Series, callable, optional
        As for `in_zone`.

    Raises
    ------
    SourceError
        If a value cannot be read as that type; it names the column, how many, and the first row, never the value.
    """
    target = TYPES[wanted]
    if values.dtype == target:
        return values
    if not holds(values.dtype):
        raise SourceError(
            f"{wanted} in the column {values.name!r} of the source {source!r}",
            f"{values.dtype}, which no table here holds",
            "Write it as a number or a text",
        )
    if wanted in ("number", "integer") and values.dtype == pl.String:  # some writers fill numbers up with spaces
        values = values.str.strip_chars()
    if wanted == "instant":
        out = instants(values, clock, form, groups, report)
    elif wanted == "boolean" and values.dtype == pl.String:
        lower = values.str.strip_chars().str.to_lowercase()
        out = pl.select(
            pl.when(lower.is_in(_TRUE)).then(statement=True).when(lower.is_in(_FALSE)).then(statement=False)
        ).to_series()
    elif wanted == "boolean" and values.dtype.is_numeric():
        out = pl.select(pl.when((values == 0) | (values == 1)).then(values)).to_series().cast(pl.Boolean)
    elif wanted == "integer" and values.dtype == pl.String:
        out = whole_numbers(values)
    elif wanted == "integer" and values.dtype.is_float():
        numbers = values.cast(pl.Float64)
        out = pl.select(pl.when(numbers == numbers.floor()).then(numbers)).to_series().cast(pl.Int64, strict=False)
    else:
        out = values.cast(target, strict=False)
    bad = values.is_not_null() & out.is_null()
    if wanted == "instant" and bad.any():  # those of the hour that comes twice are read, though they have no place
        bad &= ~_readable(values, _format(values, clock, form))
    if bad.any():
        raise misfit(values, bad, wanted, source)
    return out.alias(values.name)


def misfit(values: pl.Series, bad: pl.Series, wanted: str, source: str, why: str = "", remedy: str = "") -> SourceError:
    """Say how many values are not of a type, and where the first is, never which.

    Parameters
    ----------
    why : str
        Who says that they should be, where that is not the declaration.
    """
    first = int(bad.arg_max() or 0) + 1
    if not remedy and wanted == "instant" and values.dtype == pl.String:
        remedy = _format_remedy(values.filter(bad))
    remedy = remedy or "Correct the source, name such values under `missing`, or declare another type"
    return SourceError(
        f"{wanted} in the column {values.name!r} of the source {source!r}{why}",
        f"{int(bad.sum())} of {len(values)} values that are none, the first in row {first}",
        remedy,
    )


def _format_remedy(texts: pl.Series) -> str:
    fitting = fitting_formats(texts)
    if not fitting:
        return (
            "Instants are ISO 8601 (2024-01-31T12:00:00Z) or of a `format` declared at the column, made of %Y %m %d "
            "%H %M %S and the like. Declare it, correct the source, or name values that are none under `missing`"
        )
    fit = " or ".join(f'"{each}"' for each in fitting)
    several = "They fit several, and a day must not be taken for a month: declare which"
    return (
        "Instants are ISO 8601 (2024-01-31T12:00:00Z) or of a declared `format`. "
        f"{several if len(fitting) > 1 else 'Declare it'}, `format: {fit}`, at the column"
    )


def _readable(values: pl.Series, form: str | None) -> pl.Series:
    if values.dtype != pl.String:
        timed = isinstance(values.dtype, pl.Datetime) or values.dtype == pl.Date
        return pl.Series([timed]).new_from_index(0, len(values))
    local, absolute = read_texts(values, form)
    return local.is_not_null() | absolute.is_not_null()


def _format(values: pl.Series, clock: Clock | None, form: str | None) -> str | None:
    timed = clock is not None and values.name == clock.column
    return clock.format if clock is not None and timed and clock.format is not None else form


def instants(
    values: pl.Series,
    clock: Clock | None,
    form: str | None = None,
    groups: pl.Series | None = None,
    report: Callable[[str], None] | None = None,
) -> pl.Series:
    """Read a column as instants; those of the clock in its zone where they carry none, what is none as missing."""
    timed = _is_clock(values, clock)
    zone = clock.timezone if timed and clock is not None else "UTC"
    form = _format(values, clock, form)
    if not timed:
        groups = report = None
    if values.dtype == pl.String:
        local, absolute = read_texts(values, form)
        there = in_zone(local, zone, groups, report)
        return pl.select(pl.coalesce(absolute, there)).to_series().alias(values.name)
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        return values.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if values.dtype in (pl.Date, pl.Datetime):
        return in_zone(values.cast(pl.Datetime("us")), zone, groups, report)
    return pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us", "UTC"))


def match_types(
    known: pl.DataFrame, rows: pl.DataFrame | Mapping[str, pl.DataType], columns: Sequence[str]
) -> pl.DataFrame:
    """Bring columns of what is known to the types they have in new rows, or in a schema, so that both can be compared.

    A value that has none there matches nothing; what becomes of the types is said where the rows are written.
    """
    schema = rows.schema if isinstance(rows, pl.DataFrame) else rows
    return known.with_columns(pl.col(column).cast(schema[column], strict=False) for column in columns)
